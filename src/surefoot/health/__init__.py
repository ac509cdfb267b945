"""Whether an app is alive: probes that ask it, and pure judges that decide by the answers."""
