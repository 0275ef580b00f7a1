"""Helper processes for native code that parses untrusted input: limited, without network, killed when their task is over."""
