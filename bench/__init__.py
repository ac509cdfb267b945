"""Side by side with what a user would otherwise do, measured in one run. `make bench`."""
