"""The `tritonserver` launcher: standard library only, imports nothing of the other rooms."""
