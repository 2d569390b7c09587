"""The documentation -> code collector on a small package that is shaped like pulumi_aws."""

import json
from collections import Counter

import pytest

from training_jobs.collect import platform_docs
from training_jobs.collect.docstrings import read_module
from training_jobs.collect.platform_docs import order, prompt_of, split, to_rows

MODULE = '''
class Queue(pulumi.CustomResource):
    @overload
    def __init__(__self__, resource_name):
        """
        Provides an SQS [message queue](https://example.com) resource. More prose.

        > **Note:** not this.

        ## Example Usage

        ```python
        import pulumi_aws as aws

        role = aws.iam.Role("r")
        queue = aws.sqs.Queue("queue", name="x")
        ```

        ### FIFO topics

        ```python
        aws.sqs.Queue("fifo", fifo=True)
        ```

        ### Broken

        ```python
        this is not python
        ```

        ## Import

        Nothing here.
        """
'''


def _example_module(name, sentence):
    return (
        MODULE.replace("class Queue", f"class {name}")
        .replace("Provides an SQS [message queue](https://example.com) resource.", sentence)
        .replace("aws.sqs.Queue", f"aws.svc.{name}")
    )


def test_an_example_is_the_call_of_the_documented_class_alone():
    examples = list(read_module(MODULE, "sqs"))
    assert [e.code for e in examples] == [
        'aws.sqs.Queue("queue", name="x")',
        'aws.sqs.Queue("fifo", fifo=True)',
        "",
    ]
    assert examples[0].sentence == "Provides an SQS message queue resource."
    assert examples[1].heading == "FIFO topics"


def test_a_prompt_never_contains_the_class_name():
    first, second, _ = read_module(MODULE, "sqs")
    assert prompt_of(first) == "Provides an SQS message resource."
    assert prompt_of(second) == "Provides an SQS message resource. FIFO topics."


def test_what_is_no_pair_is_counted_by_reason():
    nothing = _example_module("Mesh", "Provides an AWS Mesh resource.")
    rows, rejected = to_rows([*read_module(MODULE, "sqs"), *read_module(nothing, "svc")])
    assert [row.path for row in rows] == ["aws.sqs.Queue", "aws.sqs.Queue", "aws.svc.Mesh"]
    assert rejected == Counter(
        {
            "the example has no call of the documented class, or does not parse": 2,
            "without the class name the sentence says nothing": 1,
        }
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """120 services of one to three resource classes with two examples each."""
    root = tmp_path_factory.mktemp("site") / "pulumi_aws"
    root.mkdir()
    (root / "__init__.py").touch()
    for service in range(120):
        folder = root / f"svc{service}"
        folder.mkdir()
        for number in range(service % 3 + 1):
            name = f"Thing{service}x{number}"
            text = _example_module(name, f"Manages entry {number} of catalogue {service}.")
            (folder / f"thing{number}.py").write_text(
                text.replace("aws.svc.", f"aws.svc{service}.")
            )
    return root


def test_no_training_row_mentions_a_held_out_class_and_some_services_are_unseen(package, tmp_path):
    assert platform_docs.main(["--out", str(tmp_path / "d"), "--package-dir", str(package)]) == 0

    def read(name):
        return [json.loads(line) for line in (tmp_path / "d" / name).open()]

    train, heldout = read("train.jsonl"), read("heldout.jsonl")
    held = [row["output"].split("(")[0] for row in heldout]
    assert len(held) == len(set(held)) == 100
    text = "\n".join(row["output"] for row in train)
    assert not [path for path in held if f"{path}(" in text]
    services = {row["output"].split(".")[1] for row in train}
    unseen = [path for path in held if path.split(".")[1] not in services]
    assert len(unseen) >= platform_docs.HELD_OUT_UNSEEN_SERVICES
    # A gate that reads the first rows only sees both kinds.
    assert 20 <= sum(path in unseen for path in held[:50]) <= 40


def test_training_order_is_breadth_first(package):
    rows, _ = to_rows(platform_docs.read_package(package))
    ordered = order(rows)
    classes = {row.path for row in rows}
    assert {row.path for row in ordered[: len(classes)]} == classes
    assert sorted(row.pair.input for row in ordered) == sorted(row.pair.input for row in rows)


def test_the_split_does_not_depend_on_the_order_of_reading(package):
    rows, _ = to_rows(platform_docs.read_package(package))
    (train, held), (again, held_again) = split(rows), split(rows)
    assert (train, held) == (again, held_again)
    assert {row.path for row in split(rows[::-1])[1]} == {row.path for row in held}


def test_a_folder_that_is_no_pulumi_aws_is_refused(tmp_path, capsys):
    assert platform_docs.main(["--out", str(tmp_path / "d"), "--package-dir", str(tmp_path)]) == 2
    assert "no pulumi_aws package" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_folder_that_is_no_dataset_is_not_replaced(package, tmp_path, capsys):
    (tmp_path / "pointer.json").write_text("{}")
    assert platform_docs.main(["--out", str(tmp_path), "--package-dir", str(package)]) == 2
    assert "a dataset replaces its folder whole" in capsys.readouterr().err
    assert (tmp_path / "pointer.json").read_text() == "{}"
