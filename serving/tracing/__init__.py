"""One trace for each request, sent in the background; losing one never costs a request.

    trace.py        what a trace is and the attributes that it becomes; no I/O
    content.py      prompts and answers in the shape of the GenAI conventions; no I/O
    redaction.py    takes personal data and secrets out of texts; no I/O
    redactor.py     runs the redaction in a process of its own
    otlp.py         traces as OTLP protobuf; no I/O
    sender.py       one request to the receiver, with retries
    tracer.py       the bounded backlog and the thread that empties it

The package imports nothing here: whoever renders a configuration needs `serving.tracing.config`
without OpenTelemetry.
"""
