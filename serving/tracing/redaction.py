r"""Takes personal data and secrets out of texts, with the pattern recognisers of Presidio. No I/O.

What is found becomes `<EMAIL_ADDRESS>`, `<CREDIT_CARD>`, `<IBAN_CODE>`, `<PHONE_NUMBER>`,
`<IP_ADDRESS>`, `<KR_RRN>` (Korean resident registration number) or `<SECRET>`. Names of people and
postal addresses are not found: that takes a language model. Rather too much is taken out than too
little: a version such as 1.2.3.4 looks like an address and goes too.

Presidio's own recognisers of e-mail and web addresses are not used: they look their domains up in a
list of public suffixes, which they fetch from the internet. Its patterns are written for text
between spaces, and Korean puts particles right behind a number or an address (`4111…1111입니다`),
so what is searched is a shadow of the text, of the same length, in which letters that are not ASCII
are no letters, full-width forms are plain ones, and escapes such as `\n` inside quoted JSON are
blank. Its recogniser of IBANs misses one that is written small or stands before a word of four
letters, so candidates are found here and judged by it.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_BLANK: Final = "\0"
"""Neither a letter nor a space: nothing is found across it."""
_MIN_SCORE: Final = 0.3
"""Presidio's score of its weakest pattern that a checksum did not confirm, without `::`."""
_SHORTEST: Final = 6
"""Nothing that is looked for is shorter, but for addresses such as `::1`."""
_SHORTEST_NUMBER: Final = 10**7

_ESCAPE: Final = re.compile(r"\\+(?:u[0-9A-Fa-f]{4}|[\"'/bfnrt])?")

# Every repetition is bounded: the time for a text grows with its length only.
_EMAIL: Final = (
    r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w-]{1,63}\.){1,8}(?:[A-Za-z]{2,63}|[\w-]{2,63})"
)
# Those from 2 on, and dots between the groups: Presidio's pattern has neither.
_CARD: Final = r"\b[2-6]\d{3}(?:[-. ]?\d{4}){3}\b"
_CARD_SEPARATORS: Final = [("-", ""), (" ", ""), (".", "")]
_IBAN_START: Final = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}")
_SECRETS: Final = {
    "key of a domain": r"cmp_[a-z][a-z0-9-]{0,39}_[A-Za-z0-9_-]{16,128}",
    "prefixed key": r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,256}",
    "bearer token": r"\bbearer\s{1,4}[A-Za-z0-9._~+/=-]{16,4096}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{0,4096}",
    "AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255})",
    "Slack token": r"\bxox[abeprs]-[A-Za-z0-9-]{10,255}",
    "Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "private key": r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\s\x00]{0,8192}",
    "quoted password": (
        r"(?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|pwd)[\"'\x00]{0,4}\s{0,4}"
        r"[:=]\s{0,4}[\"'\x00]{1,4}[^\"'\s\x00]{6,256}"
    ),
}
# Numbers in national notation are those of these countries; +49 … is found from anywhere.
_PHONE_REGIONS: Final = ("KR", "US", "GB", "DE", "JP")


@dataclass(frozen=True)
class _Found:
    start: int
    end: int
    entity: str


class Redactor:
    """Loads the recognisers once; importing Presidio takes seconds."""

    def __init__(self) -> None:
        from presidio_analyzer import Pattern, PatternRecognizer  # noqa: PLC0415  slow to import
        from presidio_analyzer.predefined_recognizers import (  # noqa: PLC0415
            CreditCardRecognizer,
            IbanRecognizer,
            IpRecognizer,
            KrRrnRecognizer,
            PhoneRecognizer,
        )
        from presidio_analyzer.predefined_recognizers.generic.iban_patterns import (  # noqa: PLC0415
            regex_per_country,
        )

        card = Pattern("more cards", _CARD, _MIN_SCORE)
        self._email = PatternRecognizer(
            "EMAIL_ADDRESS", patterns=[Pattern("e-mail", _EMAIL, score=1.0)]
        )
        self._others = [
            PatternRecognizer(
                "SECRET",
                patterns=[Pattern(name, regex, score=1.0) for name, regex in _SECRETS.items()],
            ),
            CreditCardRecognizer(
                patterns=[*CreditCardRecognizer.PATTERNS, card],
                replacement_pairs=_CARD_SEPARATORS,
            ),
            KrRrnRecognizer(),
            IpRecognizer(),
            PhoneRecognizer(supported_regions=_PHONE_REGIONS),
        ]
        self._iban = IbanRecognizer()
        self._iban_formats = {
            country: re.compile(pattern) for country, pattern in regex_per_country.items()
        }

    def text(self, text: str) -> str:
        """The text with a placeholder for each thing that was found."""
        if len(text) < _SHORTEST:
            return text
        folded = _ESCAPE.sub(lambda escape: _BLANK * len(escape[0]), text.translate(_FOLDED))
        found = [*self._find(self._email, folded)] if "@" in folded else []
        shadow = re.sub(r"[^\x00-\x7f]", _BLANK, folded)
        for recognizer in self._others:
            found += self._find(recognizer, shadow)
        found += self._ibans(shadow.upper().replace("-", " "))
        return _replaced(text, found)

    def value(self, value: Any) -> Any:
        """A JSON value with every string, key and long number in it redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        shown = str(value)
        redacted = self.text(shown) if abs(value) >= _SHORTEST_NUMBER else shown
        return value if redacted == shown else redacted

    def _ibans(self, text: str) -> Iterator[_Found]:
        for begin in _IBAN_START.finditer(text):
            pattern = self._iban_formats.get(begin[0][:2])
            whole = pattern.match(text, begin.start()) if pattern else None
            if whole is not None and self._iban.validate_result(whole[0].rstrip()):
                yield _Found(whole.start(), whole.start() + len(whole[0].rstrip()), "IBAN_CODE")

    def _find(self, recognizer: Any, text: str) -> list[_Found]:
        return [
            _Found(result.start, result.end, result.entity_type)
            for result in recognizer.analyze(text, recognizer.supported_entities)
            if result.score >= _MIN_SCORE
        ]


def _replaced(text: str, found: list[_Found]) -> str:
    """Spans that overlap become one, under the name of the one that starts first."""
    pieces, end, placeholder = [], 0, ""
    for span in sorted(found, key=lambda span: (span.start, -span.end)):
        if span.start >= end:
            pieces += [placeholder, text[end : span.start]]
            placeholder = f"<{span.entity}>"
        end = max(end, span.end)
    return "".join([*pieces, placeholder, text[end:]])


class _Folded(dict[int, str]):
    """Characters as what they stand for, one for one, for `str.translate`."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        plain = unicodedata.normalize("NFKC", character)
        category = unicodedata.category(character)
        if code < 128:
            plain = character
        elif category == "Nd":
            plain = str(unicodedata.digit(character))
        elif category in {"Zs", "Cf"}:
            plain = " "
        elif category == "Pd":
            plain = "-"
        elif len(plain) != 1:
            plain = character
        self[code] = plain
        return plain


_FOLDED: Final = _Folded()
