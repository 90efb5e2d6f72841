"""HTTP/1.1 as the gateway speaks it: callbacks on httptools' parser, no coroutine a request."""
