"""Values that users hold: messages, queues, results, routes, subscriptions, enums. They know nothing of any other layer but `errors`."""
