"""Moving frames between two processes: channels, the client end, the server end, hooks, TLS (Java: `org.apache.rocketmq.remoting.netty`).

This layer pairs answers with requests and knows nothing of topics or messages. The modules:

    event_loop   which event loop programs of ours run on
    tasks        the only place here that makes tasks
    transport    how a connection is opened; replaceable by an in-memory one
    tls          contexts, and TLS failures turned into errors that name the cause
    channel      one connection: multiplexing, deadlines, back-pressure
    connecting   one connect attempt that many callers share
    name_servers which name server to ask
    client       the client end: one channel for each address
    server       the server end: listens and dispatches
"""
