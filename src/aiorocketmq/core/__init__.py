"""Pure decisions and state: routes, allocation of queues, unfinished messages, offsets. No event loop, no sockets, no clock of its own."""
