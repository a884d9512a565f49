"""The development stack: `make run`, `make demo`, `make screenshots`. Nothing here runs in production."""
