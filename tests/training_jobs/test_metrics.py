"""Right and wrong answers, as the metrics see them."""

import pytest

from training_jobs.errors import JobInputError
from training_jobs.metrics import aws_service, java_exact, mean_scores

QUEUE = 'aws.sqs.Queue("q", name="x")'


@pytest.mark.parametrize(
    ("answer", "right", "exact"),
    [
        ('import pulumi_aws as aws\nq = aws.sqs.Queue("a")', 1, 1),
        ('aws.sqs.QueuePolicy("a")', 1, 0),
        ('aws.sns.Queue("a")', 0, 0),
        ('aws.iam.Role("r")\naws.sqs.Queue("a")', 0, 0),
        ("aws.sqs.get_queue()", 0, 0),
        ("I do not know AWS.", 0, 0),
    ],
)
def test_the_first_resource_decides(answer, right, exact):
    assert aws_service(answer, QUEUE) == {"right": right, "exact_class": exact}


def test_an_expected_answer_without_a_resource_is_a_fault_of_the_dataset():
    with pytest.raises(JobInputError, match="names no resource"):
        aws_service(QUEUE, "print('hello')")


def test_only_whitespace_may_differ_in_java():
    expected = "Java: a = a.add(b);"
    assert java_exact("Java:  a =\n a.add(b); ", expected)["right"] == 1
    assert java_exact("Java: a = a.add( b);", expected)["right"] == 0
    assert java_exact("java: a = a.add(b);", expected)["right"] == 0


def test_means_are_taken_figure_by_figure():
    scores = [aws_service(QUEUE, QUEUE), aws_service('aws.sqs.X("x")', QUEUE)]
    assert mean_scores(scores) == {"right": 1.0, "exact_class": 0.5}
