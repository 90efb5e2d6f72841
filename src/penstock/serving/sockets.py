"""The socket of an endpoint."""

from __future__ import annotations

import errno
import socket
import ssl

from penstock.errors import ServingError
from penstock.settings import ServingSettings

BACKLOG = 2048
GATEWAY = "[serving] host and port, or PENSTOCK_SERVING_PORT"


def bind(host: str, port: int, *, shared: bool = False, setting: str = GATEWAY) -> socket.socket:
    """The socket of a port; 0 takes any free one. Raises `ServingError`.

    It listens, unless it is `shared` by several processes: each listens when it can answer.
    `setting` is what to set where it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        if not shared:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServingError(
                f"port {port} is in use by another process",
                hint=f"stop that process, or set {setting}",
            ) from error
        raise ServingError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint=f"set {setting}",
        ) from error
    return listener


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """Where this machine reaches the socket."""
    scheme = "https" if tls else "http"
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def tls_context(settings: ServingSettings) -> ssl.SSLContext | None:
    """For HTTPS; None where no certificate is set. Raises `ServingError`."""
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise ServingError(
            f"the certificate {settings.tls_certificate} cannot be used: {error}",
            hint="set [serving] tls_certificate and tls_key to PEM files that belong together",
        ) from error
    return context
