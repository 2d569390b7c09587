"""Dataset and evaluation jobs: what they refuse, how they judge, what they sign."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from registry.digests import file_digest
from registry.evaluation import CheckResult, create_key_pair, verify
from registry.store import open_store
from registry.traffic import Asked
from tests.training_jobs.train_env.tiny import write_base, write_pairs
from training_jobs.copy_baseline import nearest_answers
from training_jobs.dataset import Lengths, check_dataset
from training_jobs.dataset_config import DatasetConfig
from training_jobs.errors import JobInputError
from training_jobs.evaluate import DomainScores, judge
from training_jobs.openai_client import OpenAIClient
from training_jobs.pairs import Pair
from training_jobs.train.rows import tokenize


@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    return Lengths(write_base(tmp_path_factory.mktemp("base")))


def _dataset(root, **changes):
    train, heldout = root / "train.jsonl", root / "heldout.jsonl"
    digest = write_pairs(train)
    if not heldout.exists():
        heldout.write_text(json.dumps({"input": "w1 w1 w1", "output": "w2"}) + "\n")
    values = {
        "registry_uri": f"file://{root}",
        "domain": "words",
        "run_id": "run-1",
        "train_path": train,
        "train_digest": digest,
        "heldout_path": heldout,
        "heldout_digest": file_digest(heldout),
        "min_reviewed": 40,
        "max_seq_length": 64,
        "tokenizer_directory": root,
        **changes,
    }
    return DatasetConfig(**values)


def test_a_good_dataset_is_measured(tmp_path, lengths):
    result = check_dataset(_dataset(tmp_path), lengths)
    assert (result["rows"], result["heldout_rows"]) == (40, 1)
    assert 8 < result["tokens_median"] <= result["tokens_longest"] <= 64


def test_too_few_long_and_contaminated_datasets_are_refused(tmp_path, lengths):
    with pytest.raises(JobInputError, match="40 pairs, min_reviewed is 41"):
        check_dataset(_dataset(tmp_path, min_reviewed=41), lengths)
    with pytest.raises(JobInputError, match=r"train\.jsonl:\d: \d+ tokens, max_seq_length is 15"):
        check_dataset(_dataset(tmp_path, max_seq_length=15), lengths)
    first = json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])
    (tmp_path / "heldout.jsonl").write_text(json.dumps({**first, "output": "other"}) + "\n")
    with pytest.raises(JobInputError, match=r"heldout\.jsonl:1: the input is line 1 of .*train"):
        check_dataset(_dataset(tmp_path), lengths)


def test_the_loss_is_on_the_answer_and_on_its_end(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(write_base(tmp_path))
    pair = Pair("w1 w2", "w3 w4", line=1)
    (row,) = tokenize([pair], tokenizer, answer_tokens=None)
    answer = [i for i, mask in zip(row["input_ids"], row["completion_mask"], strict=True) if mask]
    assert tokenizer.convert_ids_to_tokens(answer) == ["w3", "w4", "<|im_end|>"]
    (cut,) = tokenize([pair], tokenizer, answer_tokens=1)
    assert cut["input_ids"] == row["input_ids"][:-2]


def _judged(adapter, base=0.0, live=None, contaminated=0):
    scores = DomainScores(
        adapter={"right": adapter},
        base={"right": base},
        live=None if live is None else {"right": live},
        copy_baseline={"right": 0.3},
        rows=20,
    )
    return judge(scores, margin=0.05, contaminated=contaminated)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"adapter": 0.5}, ""),
        ({"adapter": 0.04}, "not better than the base"),
        ({"adapter": 0.6, "base": 0.58}, "not better than the base"),
        ({"adapter": 0.85, "base": 0.8}, ""),
        ({"adapter": 0.8, "live": 0.85}, ""),
        ({"adapter": 0.5, "live": 0.54}, ""),
        ({"adapter": 0.5, "live": 0.6}, "worse than the live release"),
        ({"adapter": 0.9, "contaminated": 2}, "2 held-out inputs occur in the training data"),
    ],
)
def test_the_domain_test_says_why_it_fails(scores, reason):
    check = _judged(**scores)
    assert isinstance(check, CheckResult)
    assert (check.status == "passed") == (reason == "")
    assert reason in check.reason


def test_the_copy_baseline_answers_with_the_nearest_training_row():
    inputs = ["add a fee to the balance", "create an SQS queue", "delete a bucket"]
    questions = ["make a queue in SQS", "add this fee"]
    assert nearest_answers(inputs, ["one", "two", "three"], questions) == ["two", "one"]


class _Server(BaseHTTPRequestHandler):
    """Stands in for vLLM: lists one model and answers with the question in capitals."""

    def do_GET(self):
        self._send({"data": [{"id": "words-v1.0"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["temperature"] == 0
        text = body["messages"][0]["content"].upper()
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": 2}
        self._send({"choices": [{"message": {"content": text}}], "usage": usage})

    def _send(self, document):
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class _ManyClients(ThreadingHTTPServer):
    # Sixteen connections arrive at once; the default of five waiting ones resets some of them.
    request_queue_size = 64


@pytest.fixture
def server():
    server = _ManyClients(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_answers_keep_the_order_of_the_questions(server):
    client = OpenAIClient(server)
    client.wait_for("words-v1.0", timeout_s=5)
    questions = [f"q{number}" for number in range(30)]
    answers = client.answers("words-v1.0", questions, max_tokens=4)
    assert answers == [question.upper() for question in questions]
    assert client.asked == Asked(answered=30, prompt_tokens=30, generation_tokens=60)


def test_a_question_without_an_answer_is_counted_as_such():
    client = OpenAIClient("http://127.0.0.1:9/v1")
    with pytest.raises(httpx.ConnectError):
        client.answers("words-v1.0", ["q"], max_tokens=4)
    assert client.asked == Asked(unanswered=1)


def test_an_adapter_that_is_never_served_is_named(server):
    with pytest.raises(TimeoutError, match=r"does not serve 'words-v9.9'.*it lists words-v1\.0"):
        OpenAIClient(server).wait_for("words-v9.9", timeout_s=0.1)


def test_the_verdict_is_signed_over_bundle_and_gate(tmp_path, server):
    from training_jobs.evaluate import measure, verdict
    from training_jobs.evaluate_config import NOT_IMPLEMENTED, EvaluateConfig

    private, public = tmp_path / "e.key", tmp_path / "e.pub"
    create_key_pair(private, public)
    config = EvaluateConfig(
        registry_uri=f"file://{tmp_path}",
        domain="words",
        customer="customer-words",
        version="v1.0",
        run_id="run-1",
        openai_url=server,
        served_name="words-v1.0",
        base_name="base",
        live_name=None,
        train_path=tmp_path / "train.jsonl",
        train_digest="sha256:train",
        heldout_path=tmp_path / "heldout.jsonl",
        heldout_digest="sha256:heldout",
        metric="java_exact",
        rows=1,
        max_tokens=4,
        margin=0.05,
        gate_digest="sha256:gate",
        evaluation_key=str(private),
        off=dict.fromkeys(NOT_IMPLEMENTED, "not in this test"),
    )
    signed = verdict(config, "sha256:bundle", _judged(0.9))
    verify(signed, public)
    assert signed.passed
    statuses = {check.name: check.status for check in signed.checks}
    assert statuses == {"domain_test": "passed", **dict.fromkeys(NOT_IMPLEMENTED, "not-applicable")}
    assert not open_store(config.registry_uri).list("lora-adapters/")
    assert not verdict(config, "sha256:bundle", _judged(0.01)).passed
    # A check that nobody switched off and that nobody ran has not passed.
    forgotten = config.model_copy(update={"off": {"faithfulness": "not in this test"}})
    unfinished = verdict(forgotten, "sha256:bundle", _judged(0.9))
    assert not unfinished.passed
    assert [line.split(":")[0] for line in unfinished.failures()] == [
        "swe_bench_resolved",
        "garak_critical",
    ]
    (tmp_path / "train.jsonl").write_text("another file")
    with pytest.raises(JobInputError, match=r"its digest is .* the stack's configuration says"):
        measure(config, OpenAIClient(server), None)
