"""The sample app's releases, a client that uses it, and the story that `surefoot demo` tells."""
