"""Properties of the pure rules: tenancy, resolution, the alias rule, the stream filter."""

import hashlib
import itertools
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from registry.names import Version
from serving.pool_servers import ServerAddress
from serving.router.breaker import Breaker
from serving.router.config import BreakerLimits, RouterConfig
from serving.router.errors import Refusal
from serving.router.model_servers import ModelServers
from serving.router.releases import PodReport, PoolState, alias_target, capacity_quorum
from serving.router.resolution import Asked, DomainReleases, PoolAliases, Serving, resolve
from serving.router.sse import StreamFilter
from serving.router.tenancy import Caller, TenancyRecord, TenantDirectory, authorize

ALIASES = PoolAliases({"slm": "slm", "llama-8b": "slm", "llm": "llm", "glm5": "llm"})
DOMAINS = ("bank-ledger", "bank", "stock-order", "platform-docs")


def record(domain: str, keys: tuple[str, ...] = (), **changes: object) -> TenancyRecord:
    hashes = [f"sha256:{hashlib.sha256(key.encode()).hexdigest()}" for key in keys]
    values = {
        "schema": 1,
        "domain": domain,
        "customer": f"customer of {domain}",
        "key_hashes": hashes,
        "pools": ["slm", "llm"],
    }
    return TenancyRecord.model_validate(values | changes)


def releases(domain: str, live: str, before: str | None) -> DomainReleases:
    newest = Serving("slm", f"{domain}-{live}", Version.parse(live), "sha256:new")
    base = Serving("llm", "glm5", Version.parse(live), None)
    held = [newest]
    if before is not None:
        held.append(Serving("slm", f"{domain}-{before}", Version.parse(before), "sha256:old"))
    return DomainReleases({"slm": newest, "llm": base}, tuple(held), Version.parse(live))


names = st.one_of(
    st.sampled_from([*ALIASES.pools, *DOMAINS]),
    st.builds("{}-v{}.{}".format, st.sampled_from(DOMAINS), st.integers(0, 2), st.integers(0, 2)),
    st.text(max_size=30),
    st.sampled_from(["../x", "/etc/passwd", "bank-ledger-v1.0/../..", "bank-ledger-v1.0\0"]),
)


@given(model=names, lora_name=st.none() | names, header=st.none() | st.just("bank-ledger"))
def test_whatever_is_asked_only_the_own_releases_answer(
    model: str, lora_name: str | None, header: str | None
) -> None:
    own = releases("bank-ledger", "v1.1", "v1.0")
    caller = Caller(record("bank-ledger"), header)
    outcome = resolve(caller, Asked(model, lora_name), ALIASES, own)
    if isinstance(outcome, Refusal):
        assert outcome.status in {400, 404}
        return
    assert outcome in {*own.held, *own.live.values()}
    if lora_name is not None:
        assert outcome.served_model.startswith("bank-ledger-")
        assert lora_name in {"bank-ledger", outcome.served_model}
    if model not in ALIASES.pools:
        assert model == outcome.served_model


@given(model=names, lora_name=st.none() | names)
def test_an_answer_says_nothing_about_other_domains(model: str, lora_name: str | None) -> None:
    """The rule sees the own domain only, so a foreign name cannot differ from an unknown one."""
    caller = Caller(record("bank-ledger"), None)
    own = releases("bank-ledger", "v1.1", None)

    def refusal(find: str, put: str) -> tuple[object, ...] | None:
        asked = Asked(model.replace(find, put), lora_name and lora_name.replace(find, put))
        outcome = resolve(caller, asked, ALIASES, own)
        if not isinstance(outcome, Refusal):
            return None
        return outcome.status, outcome.code, outcome.param

    assert refusal("stock-order", "stock-order") == refusal("stock-order", "nobody-here")


@given(st.text(max_size=60))
def test_only_a_whole_key_is_a_key(guess: str) -> None:
    key = "cmp_bank-ledger_" + "k" * 43
    directory = TenantDirectory([record("bank-ledger", (key,))])
    outcome = authorize(directory, authorization=f"Bearer {guess}", domain_headers=[])
    assert isinstance(outcome, Caller) == (guess.strip() == key)


@given(st.binary(min_size=1, max_size=20))
def test_header_bytes_of_any_kind_are_refused_not_crashed_on(raw: bytes) -> None:
    directory = TenantDirectory([record("bank-ledger", ("k" * 43,))])
    value = raw.decode("utf-8", "surrogateescape")
    for key, header in ((value, "bank-ledger"), ("k" * 43, value)):
        outcome = authorize(directory, authorization=f"Bearer {key}", domain_headers=[header])
        assert isinstance(outcome, Refusal)
        json.dumps(outcome.body()).encode()


def test_rotation_has_two_valid_keys() -> None:
    directory = TenantDirectory([record("bank-ledger", ("old", "new"))])
    for key in ("old", "new"):
        assert directory.by_key(key) is not None
    assert directory.by_key("older") is None


def test_what_two_records_claim_belongs_to_neither() -> None:
    first = record("bank-ledger", ("a", "shared"), header_aliases=["bank"])
    second = record("stock-order", ("b", "shared"), header_aliases=["bank"])
    directory = TenantDirectory([first, second])
    assert directory.by_key("shared") is None
    assert directory.by_name("bank") is None
    assert directory.by_key("a") == first
    assert directory.by_name("stock-order") == second


def test_a_domains_own_name_is_its_own() -> None:
    first = record("bank-ledger", ("a",))
    second = record("stock-order", ("b",), header_aliases=["bank-ledger"])
    directory = TenantDirectory([first, second])
    assert directory.by_name("bank-ledger") == first
    assert directory.tenants == (first, second)


def test_different_domain_headers_are_ambiguous() -> None:
    directory = TenantDirectory([record("bank-ledger", ("k",)), record("stock-order", ("s",))])
    outcome = authorize(
        directory, authorization="Bearer k", domain_headers=["bank-ledger", "stock-order"]
    )
    assert isinstance(outcome, Refusal)
    assert outcome.status == 400


OLD = Serving("slm", "d-v1.0", Version(1, 0), "sha256:old")
NEW = Serving("slm", "d-v1.1", Version(1, 1), "sha256:new")
pods = st.lists(
    st.builds(
        PodReport,
        st.frozensets(
            st.sampled_from(
                [("d-v1.0", "sha256:old"), ("d-v1.1", "sha256:new"), ("d-v1.1", "sha256:other")]
            )
        ),
        st.booleans(),
    ),
    max_size=5,
)


def holding(serving: Serving, reports: list[PodReport]) -> int:
    return sum((serving.served_model, serving.digest) in report.adapters for report in reports)


@given(reports=pods, quorum=st.integers(1, 4), current=st.sampled_from([None, OLD, NEW]))
def test_the_alias_moves_at_the_quorum_and_never_leads_to_nobody(
    reports: list[PodReport], quorum: int, current: Serving | None
) -> None:
    target = alias_target(NEW, current, OLD, PoolState("llama-8b", quorum, reports))
    if holding(NEW, reports) >= quorum:
        assert target == NEW
    elif target is None:
        assert holding(OLD, reports) == 0
        assert current is None or holding(current, reports) == 0
    else:
        assert holding(target, reports) > 0
        if current is not None and holding(current, reports):
            assert target == current


@given(current=st.sampled_from([OLD, NEW]), quorum=st.integers(1, 4))
def test_old_reports_move_nothing(current: Serving, quorum: int) -> None:
    both = PodReport(frozenset((each.served_model, each.digest or "") for each in (OLD, NEW)))
    state = PoolState("llama-8b", quorum, [both.aged()] * 4)
    assert alias_target(NEW, current, OLD, state) == current
    assert alias_target(None, current, None, state) is None


@given(quorum=st.integers(1, 9), servers=st.integers(0, 9))
def test_the_quorum_is_never_more_than_there_is(quorum: int, servers: int) -> None:
    needed = capacity_quorum(quorum, servers, every=False)
    assert 1 <= needed <= quorum
    assert needed <= max(1, servers)
    assert capacity_quorum(quorum, servers, every=True) == max(1, servers)


def test_a_release_without_an_adapter_waits_for_a_server_that_is_up() -> None:
    base = Serving("llm", "glm5", Version(1, 0), None)
    down, up = PodReport(frozenset(), base=False), PodReport(frozenset())
    assert alias_target(base, None, None, PoolState("glm5", 1, [down])) is None
    assert alias_target(base, None, None, PoolState("glm5", 1, [down, up])) == base


def chunk(content: str, usage: object = None, *, spaces: bool = False) -> bytes:
    value: dict[str, object] = {"choices": [{"delta": {"content": content}}], "model": "m"}
    if usage is not None:
        value["usage"] = usage
    return event(value, spaces=spaces)


def event(value: object, *, spaces: bool = False) -> bytes:
    return f"data: {json.dumps(value, separators=None if spaces else (',', ':'))}\n\n".encode()


def usage(prompt: int, done: int) -> dict[str, object]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": done,
        "prompt_tokens_details": {"cached_tokens": 1},
    }


nasty = st.sampled_from(
    [',"usage":{"prompt_tokens":9}', "data: [DONE]\n\n", '"choices":[]', "\n\n", "}", '\\"', "é"]
)
contents = st.lists(nasty | st.text(max_size=12), min_size=1, max_size=6)


@given(
    contents=contents,
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    keep=st.booleans(),
    spaces=st.booleans(),
)
def test_the_stream_filter_hides_usage_and_nothing_else(
    contents: list[str], cuts: list[int], keep: bool, spaces: bool
) -> None:
    raw = b"".join(
        chunk(text, usage(5, n), spaces=spaces) for n, text in enumerate(contents, start=1)
    )
    raw += event({"choices": [], "usage": usage(5, len(contents))}, spaces=spaces)
    raw += b"data: [DONE]\n\n"
    bounds = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in itertools.pairwise(bounds)]
    stream = StreamFilter(keep_usage_chunk=keep)
    sent = b"".join(stream.feed(piece) for piece in pieces)
    assert stream.complete
    assert b"data: [DONE]" not in sent.split(b"\n\n")
    assert stream.end() == b"data: [DONE]\n\n"
    chunks = [json.loads(e.removeprefix(b"data: ")) for e in sent.split(b"\n\n") if e]
    texts = [c["choices"][0]["delta"]["content"] for c in chunks if c["choices"]]
    assert texts == contents
    assert [c for c in chunks if "usage" in c and c["choices"]] == []
    assert len([c for c in chunks if not c["choices"]]) == int(keep)
    found = stream.usage()
    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == (5, len(contents), 1)


def config(**changes: object) -> dict[str, object]:
    pool = {
        "servers": [
            {
                "pod": "vllm-0",
                "base_url": "http://127.0.0.1:1",
                "adapter_sync_url": "http://127.0.0.1:2",
            }
        ],
        "served_base": "llama-8b",
        "aliases": ["slm"],
    }
    values = {
        "listen": {"port": 0},
        "pools": {"slm": pool, "llm": pool | {"aliases": ["llm"]}},
        "domains_dir": "/d",
        "registry_uri": "file:///r",
        "evaluation_public_key": "/k",
        "ledger_dir": "/l",
    }
    return values | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"surprise": 1}, "surprise"),
        ({"ledger_dir": "relative"}, "'relative' is not absolute"),
        ({"limits": {"max_in_flight": 0}}, "max_in_flight"),
        ({"pools": {"xlm": {}}}, "pools"),
        ({"servers_dir": "/s"}, "pool slm: name its servers"),
        ({"servers_dir": "relative"}, "'relative' is not absolute"),
    ],
)
def test_a_wrong_configuration_is_named(changes: dict[str, object], said: str) -> None:
    RouterConfig.model_validate(config())
    with pytest.raises(ValidationError, match=said):
        RouterConfig.model_validate(config(**changes))


@pytest.mark.parametrize("alias", ["llm", "bank-ledger-v1.0"])
def test_an_alias_means_one_pool_and_no_release(alias: str) -> None:
    values = config()
    pools = values["pools"]
    assert isinstance(pools, dict)
    pools["slm"] = pools["slm"] | {"aliases": ["slm", alias]}
    with pytest.raises(ValidationError, match=alias):
        RouterConfig.model_validate(values)


@given(
    steps=st.lists(st.sampled_from(["request fails", "request succeeds", "gives up", "wait"])),
    failures=st.integers(1, 4),
)
def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_probe_through(
    steps: list[str], failures: int
) -> None:
    breaker = Breaker(BreakerLimits(failures=failures, open_s=10))
    now, in_a_row, opened = 0.0, 0, None
    for step in steps:
        if step == "wait":
            now += 6
            continue
        expected = opened is None or now - opened >= 10
        assert breaker.admits(now) == expected
        if not expected:
            continue
        breaker.begin()
        if opened is not None:
            assert not breaker.admits(now + 100), "a second request went along with the probe"
        if step == "request succeeds":
            breaker.succeeded()
            in_a_row, opened = 0, None
        elif step == "gives up":
            breaker.abandoned()
        else:
            in_a_row += 1
            opens = opened is not None or in_a_row >= failures
            assert breaker.failed(now) == (opens and opened is None)
            opened = now if opens else None


@given(
    holding=st.lists(st.booleans(), min_size=1, max_size=6),
    moves=st.lists(st.booleans(), max_size=40),
)
def test_requests_are_spread_over_the_holders_evenly(
    holding: list[bool], moves: list[bool]
) -> None:
    """Requests begin and end in any order; the holders' loads never differ by more than needed."""
    servers = ModelServers(BreakerLimits(), None, lambda: None)
    servers.replace(
        ServerAddress(pod=f"vllm-{n}", base_url="http://h:1", adapter_sync_url="http://h:2")
        for n in range(len(holding))
    )
    loaded = frozenset({("d-v1.1", "sha256:new")})
    servers.hear(
        {f"vllm-{n}": PodReport(loaded if has else frozenset()) for n, has in enumerate(holding)}
    )
    holders = {f"vllm-{n}" for n, has in enumerate(holding) if has}
    assert servers.hold(NEW) == bool(holders)
    open_leases = []
    for begins in moves:
        if not begins:
            if open_leases:
                open_leases.pop(0).__exit__(None, None, None)
            continue
        busy = Counter(lease.pod for lease in open_leases)
        lease = servers.choose(NEW)
        if not holders:
            assert lease is None
            continue
        assert lease is not None
        assert lease.pod in holders
        assert busy[lease.pod] == min(busy[pod] for pod in holders)
        open_leases.append(lease)
