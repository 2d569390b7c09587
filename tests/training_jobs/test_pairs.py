"""What a dataset file may be, and that a complaint names file and line."""

import json

import pytest

from registry.digests import file_digest
from training_jobs.errors import JobInputError
from training_jobs.pairs import read_pairs, refuse_long_rows, refuse_other_digest


def _line(number):
    return json.dumps({"input": f"question {number}", "output": f"answer {number}"})


def _write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pairs_keep_their_line_numbers_across_blank_lines(tmp_path):
    pairs = read_pairs(_write(tmp_path / "a.jsonl", _line(1), "", _line(2)))
    assert [(pair.line, pair.input, pair.output) for pair in pairs] == [
        (1, "question 1", "answer 1"),
        (3, "question 2", "answer 2"),
    ]


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ('{"input": "x", "output"', "a.jsonl:2: not JSON"),
        ('["x", "y"]', "a.jsonl:2: not a JSON object"),
        ('{"output": "y"}', "a.jsonl:2: no text under 'input'"),
        ('{"input": "x"}', "a.jsonl:2: no text under 'output'"),
        ('{"input": "x", "output": "  "}', "a.jsonl:2: no text under 'output'"),
        ('{"input": 3, "output": "y"}', "a.jsonl:2: no text under 'input'"),
        (_line(1), "a.jsonl:2: the input is that of line 1 again"),
        ('{"input": "Question  1", "output": "other"}', "a.jsonl:2: the input is that of line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, complaint):
    path = _write(tmp_path / "a.jsonl", _line(1), bad)
    with pytest.raises(JobInputError) as caught:
        read_pairs(path)
    assert complaint in str(caught.value)


def test_a_file_that_is_missing_empty_or_not_utf8_is_refused(tmp_path):
    with pytest.raises(JobInputError, match=r"gone\.jsonl: No such file"):
        read_pairs(tmp_path / "gone.jsonl")
    with pytest.raises(JobInputError, match=r"empty\.jsonl: no pairs"):
        read_pairs(_write(tmp_path / "empty.jsonl"))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(_line(1).encode() + b'\n{"input": "caf\xe9", "output": "y"}\n')
    with pytest.raises(JobInputError, match=r"latin\.jsonl:2: not UTF-8"):
        read_pairs(latin)


def test_a_long_row_is_named_with_its_length_and_the_limit(tmp_path):
    path = _write(tmp_path / "a.jsonl", _line(1), _line(2))
    pairs = read_pairs(path)
    refuse_long_rows(path, pairs, [10, 20], 20)
    with pytest.raises(JobInputError, match=r"a\.jsonl:2: 21 tokens, max_seq_length is 20"):
        refuse_long_rows(path, pairs, [10, 21], 20)


def test_another_content_under_a_known_digest_is_refused(tmp_path):
    path = _write(tmp_path / "a.jsonl", _line(1))
    digest = file_digest(path)
    refuse_other_digest(path, digest)
    _write(path, _line(2))
    with pytest.raises(JobInputError, match="the stack's configuration says " + digest):
        refuse_other_digest(path, digest)
