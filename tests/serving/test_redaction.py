"""What must not leave with a captured text, and what may; and the process that sees to it."""

import json
import secrets
import socket
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.tracing.content import as_json, input_messages, output_messages
from serving.tracing.redaction import Redactor
from serving.tracing.redactor import RedactionError, RedactorProcess

FULL_WIDTH = "".join(chr(0xFEE0 + ord(digit)) for digit in "4111111111111111")
KEY = f"cmp_bank-ledger_{secrets.token_urlsafe(32)}"


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("메일은 hong.gildong@example.co.kr로 보내세요", "메일은 <EMAIL_ADDRESS>로 보내세요"),
        ("이메일 홍길동@example.com 입니다", "이메일 <EMAIL_ADDRESS> 입니다"),
        ("write to a+b@x.example.", "write to <EMAIL_ADDRESS>."),
        ("foo@한국.kr", "<EMAIL_ADDRESS>"),
        ("카드번호4111111111111111입니다", "카드번호<CREDIT_CARD>입니다"),
        ("4111-1111-1111-1111로 결제", "<CREDIT_CARD>로 결제"),
        ("4111.1111.1111.1111", "<CREDIT_CARD>"),
        ("amex 3782 822463 10005", "amex <CREDIT_CARD>"),
        ("2223 0031 2200 3222", "<CREDIT_CARD>"),
        (FULL_WIDTH, "<CREDIT_CARD>"),
        ("4111\u200b1111\u200b1111\u200b1111", "<CREDIT_CARD>"),
        ("계좌 DE89 3704 0044 0532 0130 00입니다", "계좌 <IBAN_CODE>입니다"),
        ("iban de89370400440532013000", "iban <IBAN_CODE>"),
        ("BE68 5390 0754 7034 PAID", "<IBAN_CODE> PAID"),
        ("GB82-WEST-1234-5698-7654-32", "<IBAN_CODE>"),
        ("전화 010-1234-5678로", "전화 <PHONE_NUMBER>로"),
        ("02-312-3456으로", "<PHONE_NUMBER>으로"),
        ("call +49 30 901820", "call <PHONE_NUMBER>"),
        ("서버192.168.10.4에서", "서버<IP_ADDRESS>에서"),
        ("at 2001:db8::8a2e:370:7334", "at <IP_ADDRESS>"),
        ("주민번호 900101-1234567", "주민번호 <KR_RRN>"),
        (f"키는 {KEY}입니다", "키는 <SECRET>입니다"),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: <SECRET>"),
        ("export K=sk-lf-0123456789abcdef", "export K=<SECRET>"),
        ("aws AKIAIOSFODNN7EXAMPLE", "aws <SECRET>"),
        ('{"a":"x\\n4111111111111111"}', '{"a":"x\\n<CREDIT_CARD>"}'),
        ('{"a":"\\uce744111111111111111"}', '{"a":"\\uce74<CREDIT_CARD>"}'),
        ("4111111111111111 and a@b.example", "<CREDIT_CARD> and <EMAIL_ADDRESS>"),
    ],
)
def test_what_is_taken_out(redactor: Redactor, text: str, shown: str) -> None:
    assert redactor.text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "주문 1234567890123456",
        "합계 12345678901234567890",
        "PIC S9(7)V99 COMP-3. MOVE 1000000 TO WS-TOTAL",
        "잔액 1,500,000원",
        "2024-01-15T10:20:30",
        "std::vector<int> Foo::bar",
        "x = arr[1234567890]",
        "DE89 3704 0044 0532 0130 01",
        "a1b2c3d4-1111-2222-3333-444455556666",
        "@Override public void run()",
        "계정계 원장 코드를 자바로 바꿔 주세요",
    ],
)
def test_what_stays(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


_AROUND = st.text(alphabet="가나다입니다 ,;:()[]\"'\n\t…“”은는를", max_size=30)


@given(before=_AROUND, after=_AROUND, separator=st.sampled_from(["", "-", " "]))
def test_a_card_goes_wherever_it_stands(
    redactor: Redactor, before: str, after: str, separator: str
) -> None:
    # Digits with two colons are an IPv6 address as well, and the whole of it goes.
    assume("::" not in before + after)
    card = separator.join(["5555", "5555", "5555", "4444"])
    assert redactor.text(before + card + after) == f"{before}<CREDIT_CARD>{after}"


@given(st.text(max_size=200))
def test_any_text_can_be_searched(redactor: Redactor, text: str) -> None:
    shown = redactor.text(text)
    assert redactor.text(shown) == shown


def test_every_part_of_a_value_is_searched(redactor: Redactor) -> None:
    value = {
        "a@b.example": 1,
        "card": [4111111111111111, {"deep": "010-1234-5678"}],
        "kept": [None, True, 7, 0.5, "slm"],
    }
    assert redactor.value(value) == {
        "<EMAIL_ADDRESS>": 1,
        "card": ["<CREDIT_CARD>", {"deep": "<PHONE_NUMBER>"}],
        "kept": [None, True, 7, 0.5, "slm"],
    }


def test_nothing_is_asked_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert Redactor().text("https://x.example a@b.example") == "https://x.example <EMAIL_ADDRESS>"


def test_messages_of_a_chat() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "kurz"},
            {"role": "user", "content": [{"type": "text", "text": "은행"}, {"type": "image_url"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "42"},
        ]
    }
    assert input_messages(json.dumps(body).encode()) == [
        {"role": "system", "parts": [{"type": "text", "content": "kurz"}]},
        {"role": "user", "parts": [{"type": "text", "content": "은행"}, {"type": "image_url"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "1", "name": "f", "arguments": "{}"}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "42"}]},
    ]


def test_messages_of_a_completion() -> None:
    (asked,) = input_messages(b'{"prompt": ["a", "b"]}')
    assert [part["content"] for part in asked["parts"]] == ["a", "b"]
    (tokens,) = input_messages(b'{"prompt": [1, 2]}')
    assert tokens["parts"] == [{"type": "token_ids", "content": [1, 2]}]
    (answered,) = output_messages(
        b'{"choices": [{"text": "c", "finish_reason": "stop"}]}', stream=False
    )
    assert (answered["parts"][0]["content"], answered["finish_reason"]) == ("c", "stop")


def test_a_stream_is_joined() -> None:
    events = [
        {"choices": [{"delta": {"content": "은"}}]},
        {"choices": [{"delta": {"content": "행"}, "finish_reason": "length"}]},
        {"choices": [], "usage": {}},
    ]
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    (answered,) = output_messages(data + b"data: [DONE]\n\n", stream=True)
    assert answered["parts"] == [{"type": "text", "content": "은행"}]
    assert answered["finish_reason"] == "length"
    assert output_messages(b"", stream=True) == []


def test_the_end_of_a_text_that_was_cut_is_not_shown() -> None:
    event = {"choices": [{"delta": {"content": "x" * 1000}}]}
    whole = b"data: " + json.dumps(event).encode() + b"\n\n"
    data = (whole * 300)[: 256 * 1024]
    (answered,) = output_messages(data, stream=True)
    seen = data.count(b"\n\n") * 1000
    assert len(answered["parts"][0]["content"]) == seen - 256


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(["messages", "prompt"]), _JSON)
def test_no_body_is_too_strange(name: str, value: Any) -> None:
    body = json.dumps({name: [value]}).encode()
    shown = as_json(input_messages(body))
    assert shown is None or json.loads(shown)


def test_the_process_fails_closed_and_comes_back_after_it_was_killed() -> None:
    process = RedactorProcess()
    captured = (b'{"prompt": "a@b.example"}', b"", False)
    asked, answered = process.redacted(captured)
    assert (json.loads(asked or "")[0]["parts"], answered) == (
        [{"type": "text", "content": "<EMAIL_ADDRESS>"}],
        None,
    )
    broken: Any = (None, None, "neither bytes nor text")
    with pytest.raises(RedactionError, match="redaction failed: TypeError"):
        process.redacted(broken)
    assert process.redacted(captured)[0] == asked
    assert process._process is not None
    process._process.kill()
    process._process.join()
    with pytest.raises(RedactionError, match="redaction ended"):
        process.redacted(captured)
    assert process.redacted(captured)[0] == asked
    process.close()


def test_a_search_that_takes_too_long_shows_nothing() -> None:
    process = RedactorProcess(timeout_s=0)
    captured = (json.dumps({"prompt": "1234 " * 20_000}).encode(), b"", False)
    with pytest.raises(RedactionError, match="TimeoutError"):
        process.redacted(captured)
    assert process._process is None
