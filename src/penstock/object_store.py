"""S3, or what speaks its protocol, as Arrow's file system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def open_s3(endpoint_url: str = "", region: str = "") -> S3FileSystem:
    """Credentials come from where AWS's own tools look for them.

    `endpoint_url` names another server than AWS; without it, AWS_ENDPOINT_URL_S3 and
    AWS_ENDPOINT_URL do, as for those tools. Raises `OSError`.
    """
    from pyarrow import fs

    options: dict[str, Any] = {}
    for name in ENDPOINT_VARIABLES:  # which Arrow 25 does not look at
        endpoint_url = endpoint_url or os.environ.get(name, "")
    if endpoint_url:
        parts = urlsplit(endpoint_url)
        options = {"scheme": parts.scheme or "https", "endpoint_override": parts.netloc}
    if region:
        options["region"] = region
    return fs.S3FileSystem(**options)
