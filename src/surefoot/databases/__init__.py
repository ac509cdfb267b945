"""Databases: copying them alive, putting them back, migrating them, keeping backups.

`snapshot` and `migrations` are what the transaction calls inside the cutover; `backups` is what it
calls while the app serves; `sqlite` is underneath all three. Nothing here knows of releases or
of the update's state: records and paths come in, records go out.
"""
