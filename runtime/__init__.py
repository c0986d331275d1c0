"""Object bytes to running steps: loading, memory, threads, calls. Knows `graphc.program` and nothing else of the compiler."""
