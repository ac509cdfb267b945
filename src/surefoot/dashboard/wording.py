"""What the pages say, in the visitor's language."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from surefoot.app.pages import LANGUAGE_TAGS, choose_language
from surefoot.observe import messages

__all__ = ["LANGUAGES", "Wording", "choose_language"]

LANGUAGES = {"en": "English", "zh": "中文"}

TEXTS = {
    language: tomllib.loads(
        (files("surefoot.dashboard") / "texts" / f"{language}.toml").read_text(encoding="utf-8")
    )
    for language in LANGUAGES
}

CAUSES = {language: texts["causes"] for language, texts in messages.TEXTS.items()}
"""As the notifications say them."""

NOTHING = "\u2013"

_UNITS = {
    "en": {"ms": " ms", "s": " s", "min": " min", "h": " h", "d": " days"},
    "zh": {"ms": " 毫秒", "s": " 秒", "min": " 分钟", "h": " 小时", "d": " 天"},
}


@dataclass(frozen=True)
class Wording:
    """Texts, times and amounts in one language."""

    language: str

    def __call__(self, key: str, **values: object) -> str:
        """The text of that name, its gaps filled in."""
        text = str(TEXTS[self.language][key])
        return text.format(**values) if values else text

    def maybe(self, key: str, otherwise: str) -> str:
        """The text of a name that may be newer than we are, or damaged."""
        return str(TEXTS[self.language].get(key, otherwise))

    def cause(self, name: str) -> str:
        """Why an update came to nothing; a name that may be newer than we are, or damaged."""
        return CAUSES[self.language].get(name, name)

    @property
    def tag(self) -> str:
        """For `lang`."""
        return LANGUAGE_TAGS[self.language]

    @property
    def units(self) -> dict[str, str]:
        return _UNITS[self.language]

    def span(self, seconds: float | None) -> str:
        """A duration in the unit that suits it."""
        if seconds is None:
            return NOTHING
        units = self.units
        seconds = max(seconds, 0)
        if seconds < 0.0995:
            return f"{seconds * 1000:.0f}{units['ms']}"
        if seconds < 99.95:
            return f"{seconds:.1f}{units['s']}"
        for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds / size:.0f}{units[name]}"
        return f"{seconds:.0f}{units['s']}"

    def tick(self, seconds: float) -> str:
        """A round duration, at the side of a plot."""
        return f"{seconds:g}{self.units['s']}"

    def ago(self, at: datetime) -> str:
        """How long ago something was."""
        seconds = (datetime.now(UTC) - at).total_seconds()
        if seconds < 5:
            return self("just_now")
        return self("ago", span=self.span(float(round(seconds))).replace(".0", ""))

    def moment(self, at: datetime) -> str:
        """A time, to the second; in UTC, for a server's zone is not the reader's."""
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def size(self, size_bytes: int | None) -> str:
        """An amount of data in the unit that suits it."""
        if size_bytes is None:
            return NOTHING
        amount = float(size_bytes)
        for unit in ("B", "KB", "MB"):
            if amount < 1000:
                return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
            amount /= 1000
        return f"{amount:.1f} GB"
