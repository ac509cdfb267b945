"""The command line: thin. It asks and tells; what is done is done by the transaction."""
