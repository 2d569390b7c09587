"""What a schedule, an image, a name and a network may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.checks import cron_job_name, cron_schedule, image_by_digest, private_network

_DIGEST = "0123456789abcdef" * 4
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def _fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted).map("{0[0]}-{0[1]}".format)
    item = st.one_of(
        st.just("*"),
        number.map(str),
        span,
        st.integers(1, high).map("*/{}".format),
        st.tuples(span, st.integers(1, high)).map("{0[0]}/{0[1]}".format),
    )
    return st.lists(item, min_size=1, max_size=3).map(",".join)


@given(st.tuples(*(_fields(low, high) for low, high in _RANGES)).map(" ".join))
def test_takes_every_schedule_of_numbers(schedule: str) -> None:
    assert cron_schedule(schedule, "job") == schedule


@given(position=st.integers(0, 4), off=st.sampled_from([-1, 1]))
def test_refuses_a_number_out_of_its_range(position: int, off: int) -> None:
    low, high = _RANGES[position]
    value = low - 1 if off < 0 else high + 1
    fields = ["1"] * 5
    fields[position] = str(value)
    with pytest.raises(ValueError, match=rf"job: schedule .*'{value}' is no .*{low} to {high}"):
        cron_schedule(" ".join(fields), "job")


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "@daily",
        "* * * *",
        "* * * * * *",
        "TZ=UTC 0 0 * * *",
        "0 0 * * MON",
        "0 0 5-2 * *",
        "0 0 */0 * *",
        "5/10 * * * *",
        "0  0 * * *",
        "0 0 , * *",
        "0 0 L * *",
    ],
)
def test_refuses_what_is_no_schedule_of_numbers(schedule: str) -> None:
    with pytest.raises(ValueError, match="job: schedule"):
        cron_schedule(schedule, "job")


@pytest.mark.parametrize(
    "image",
    [
        f"registry.example.com:5000/pipeline/serving@sha256:{_DIGEST}",
        f"registry.example.com/serving:v1.2@sha256:{_DIGEST}",
    ],
)
def test_takes_an_image_by_digest(image: str) -> None:
    assert image_by_digest(image, "job") == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        "serving",
        "registry.example.com/serving:v1.2",
        "registry.example.com/serving:latest",
        f"serving@sha256:{_DIGEST[:-1]}",
        f"serving@sha512:{_DIGEST}",
        f"@sha256:{_DIGEST}",
    ],
)
def test_refuses_an_image_that_a_tag_could_move(image: str) -> None:
    with pytest.raises(ValueError, match=r"job: image .* not named by digest: write repository@"):
        image_by_digest(image, "job")


def test_a_cron_jobs_name_leaves_room_for_its_jobs() -> None:
    assert cron_job_name("a" * 52, "job") == "a" * 52
    for name in ("a" * 53, "", "-a", "a-", "A", "a.b", "a_b"):
        with pytest.raises(ValueError, match="cannot name a CronJob"):
            cron_job_name(name, "job")


def test_egress_names_networks_and_never_the_internet() -> None:
    for cidr in ("10.0.0.0/16", "169.254.170.23/32", "fd00:ec2::/64"):
        assert private_network(cidr, "job") == cidr
    for cidr in ("0.0.0.0/0", "::/0"):
        with pytest.raises(ValueError, match="the whole internet"):
            private_network(cidr, "job")
    for cidr in ("10.0.0.1/16", "endpoint.example.com", ""):
        with pytest.raises(ValueError, match="is no network"):
            private_network(cidr, "job")
