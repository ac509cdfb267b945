"""The transaction that takes an app from one release to another, or puts everything back."""
