"""What a running app imports. Standard library only, and nothing of it that costs time at start.

    from surefoot.app import post_update_bootstrap, trigger_update

`surefoot.app.asgi` and `surefoot.app.wsgi` have a MaintenanceMiddleware each, and
`python -m surefoot.app.serve main:app` runs uvicorn on the sockets that are held across releases.
"""

from __future__ import annotations

from surefoot.app.bootstrap import BootstrapResult
from surefoot.app.busy import Busy
from surefoot.app.client import UpdateResult
from surefoot.app.ending import EXIT_CODE_UPDATE
from surefoot.app.errors import NotSupervised, UpdateAbandoned, UpdateError, UpdateRefused
from surefoot.app.service import SyncUpdateService, UpdateService

update_service = UpdateService()
busy = Busy

trigger_update = update_service.trigger_update
request_rollback = update_service.request_rollback
post_update_bootstrap = update_service.post_update_bootstrap
check_periodically = update_service.check_periodically
report_ready = update_service.report_ready

trigger_update_sync = update_service.sync.trigger_update
request_rollback_sync = update_service.sync.request_rollback
post_update_bootstrap_sync = update_service.sync.post_update_bootstrap

__all__ = [
    "EXIT_CODE_UPDATE",
    "BootstrapResult",
    "NotSupervised",
    "SyncUpdateService",
    "UpdateAbandoned",
    "UpdateError",
    "UpdateRefused",
    "UpdateResult",
    "UpdateService",
    "busy",
    "check_periodically",
    "post_update_bootstrap",
    "post_update_bootstrap_sync",
    "report_ready",
    "request_rollback",
    "request_rollback_sync",
    "trigger_update",
    "trigger_update_sync",
    "update_service",
]
