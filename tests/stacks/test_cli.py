"""What the command says when it ends early."""

import pytest
import typer

from stacks.cli import app as cli
from stacks.driver import ReleaseError


def _run(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr("sys.argv", ["pipeline"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_an_interrupted_command_says_what_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(KeyboardInterrupt(), monkeypatch) == cli.INTERRUPTED
    assert "Jobs that were submitted go on" in capsys.readouterr().err


def test_an_error_is_shown_whole_whatever_brackets_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "[critical][main] [source/server.cc:414] see [/var/log/x]"
    assert _run(ReleaseError(message), monkeypatch) == 1
    assert message in capsys.readouterr().err
