"""The reader as a service over HTTP: limits on what comes in, worker processes that may crash, one page."""
