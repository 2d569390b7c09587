"""Records of the ledger that tests write and expect."""

from serving.ledger import Event, Intent

INTENT = Intent(
    request_id="r1",
    ts="2026-01-01T00:00:00.000000Z",
    domain="bank-ledger",
    customer="customer-bank-A",
    version="v1.0",
    served_model="bank-ledger-v1.0",
    pool="slm",
    stream=False,
)
EVENT = Event(
    **(vars(INTENT) | {"ts": "2026-01-01T00:00:01.000000Z"}),
    status=200,
    input_tokens=7,
    output_tokens=3,
    cached_tokens=None,
    latency_ms=12.5,
    ttft_ms=3.25,
    error=None,
)

# As version 0.1 of the project wrote them.
V1_INTENT = (
    b'{"schema":1,"kind":"intent","request_id":"5f0c2d9e8b1a4c3d9e7f60718293a4b5",'
    b'"ts":"2026-10-31T23:59:59.900000Z","domain":"bank-ledger","customer":"customer-bank-A",'
    b'"version":"v1.0","served_model":"bank-ledger-v1.0","pool":"slm","stream":false,'
    b'"crc":"2eb166a4"}\n'
)
V1_EVENT = (
    b'{"schema":1,"kind":"event","request_id":"5f0c2d9e8b1a4c3d9e7f60718293a4b5",'
    b'"ts":"2026-11-01T00:00:01.000000Z","domain":"bank-ledger","customer":"customer-bank-A",'
    b'"version":"v1.0","served_model":"bank-ledger-v1.0","pool":"slm","stream":false,'
    b'"status":200,"input_tokens":7,"output_tokens":3,"cached_tokens":null,"latency_ms":1100.0,'
    b'"ttft_ms":3.25,"error":null,"crc":"0edcc9a5"}\n'
)
