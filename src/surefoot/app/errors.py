"""What the app is told when an update does not come about. The app goes on in every case."""

from __future__ import annotations


class UpdateError(Exception):
    """The root: the update did not come about, and the app was not touched."""


class UpdateRefused(UpdateError):  # noqa: N818 - a published name
    """The request was turned down: another update is in flight, or the release is denied."""


class UpdateAbandoned(UpdateError):  # noqa: N818 - a published name
    """The release could not be fetched, verified, built or rehearsed."""


class NotSupervised(UpdateError):  # noqa: N818 - a published name
    """The app does not run under Surefoot, or Surefoot does not answer."""
