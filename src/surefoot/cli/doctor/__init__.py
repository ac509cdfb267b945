"""`surefoot doctor`: looks at everything that an update needs, and says what to do about it.

A new check is a function that takes a `Subject` and yields findings, and a line in
`command.CHECKS`.
"""
