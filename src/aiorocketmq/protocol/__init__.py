"""The wire without input or output: frames, headers, bodies, message records, compression. It knows no socket, thread, task or clock."""
