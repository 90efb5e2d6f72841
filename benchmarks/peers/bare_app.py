"""The booster inside a bare ASGI application: the least that a Python server can do."""

import json
import os

import lightgbm
import numpy

booster = lightgbm.Booster(model_file=os.environ["BENCH_MODEL"])
names = booster.feature_name()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    rows = json.loads(body)["rows"]
    matrix = numpy.array([[row[name] for name in names] for row in rows])
    predictions = booster.predict(matrix, num_threads=1)
    answer = json.dumps({"predictions": predictions.tolist()}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
