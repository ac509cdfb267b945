"""The smallest Flask app that does all that an app can do for Surefoot."""

import hmac
import os

from flask import Flask, abort, request

from surefoot.app import UpdateError, trigger_update_sync

VERSION = "1.0"

app = Flask(__name__)


@app.get("/")
def page():
    return f"<!doctype html><html lang=en><title>Hello</title><h1>Hello from {VERSION}</h1></html>"


@app.get("/health")
def health():
    return {"status": "ok", "version": VERSION, "worker": os.getpid()}


@app.post("/api/update")
def update():
    expected = os.environ.get("ADMIN_TOKEN", "")
    if not expected or not hmac.compare_digest(request.headers.get("X-Admin-Token", ""), expected):
        abort(403)
    try:
        return {"status": trigger_update_sync().outcome}, 202
    except UpdateError as error:
        return {"status": "refused", "reason": str(error)}, 409
