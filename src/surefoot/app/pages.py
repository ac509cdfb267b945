"""The maintenance page: one self-contained file, in the visitor's language, without JavaScript.

An app's own file takes its place. It is a template in the sense of `string.Template`: what
PLACEHOLDERS names is filled in, a page without them is shown as it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from string import Template

RETRY_AFTER_S = 5
SIZE_LIMIT = 1024 * 1024
PLACEHOLDERS = frozenset(
    {"title", "text", "steps", "since", "reload", "language", "kind", "retry_after"}
)

logger = logging.getLogger("surefoot.app")

STEPS = ("stopped", "snapshotted", "migrated", "probation")
"""The state in which each step of the page's list is under way."""
STATE_TO_STEP = {**{state: step for step, state in enumerate(STEPS)}, "switched": 3}

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Back in a moment",
        "title_broken": "Not available right now",
        "updating": "A new version is being put in place. Your data is safe, and nothing "
        "that you have saved is lost.",
        "rolling_back": "The new version did not pass its checks, so the version before is being "
        "put back. Your data is safe.",
        "broken": "An update could not be finished, and the administrator has to look at it. What "
        "you have saved is kept.",
        "step0": "Closing down the old version",
        "step1": "Bringing the data over",
        "step2": "Starting the new version",
        "step3": "Checking that all is well",
        "done": "done",
        "current": "under way",
        "pending": "to come",
        "progress": "Progress",
        "since": "Began at {time} UTC, {elapsed} ago.",
        "reload": "This page reloads by itself every {seconds} seconds.",
        "second": "1 second",
        "seconds": "{n} seconds",
        "minute": "1 minute",
        "minutes": "{n} minutes",
    },
    "zh": {
        "title": "马上回来",
        "title_broken": "暂时无法使用",
        "updating": "正在换上新版本。您的数据是安全的，已保存的内容不会丢失。",
        "rolling_back": "新版本没有通过检查，正在恢复到之前的版本。您的数据是安全的。",
        "broken": "更新未能完成，需要管理员处理。您保存的内容都已保留。",
        "step0": "关闭旧版本",
        "step1": "迁移数据",
        "step2": "启动新版本",
        "step3": "检查是否一切正常",
        "done": "已完成",
        "current": "进行中",
        "pending": "等待中",
        "progress": "进度",
        "since": "开始于 {time}（UTC），已进行 {elapsed}。",
        "reload": "本页每 {seconds} 秒自动刷新。",
        "second": "1 秒",
        "seconds": "{n} 秒",
        "minute": "1 分钟",
        "minutes": "{n} 分钟",
    },
}
LANGUAGE_TAGS = {"en": "en", "zh": "zh-Hans"}


def choose_language(accept_language: str) -> str:
    """The visitor's first choice among `en` and `zh`, by Accept-Language; English by default."""
    best, best_quality = "en", 0.0
    for part in accept_language.lower().split(","):
        tag, _, parameter = part.strip().partition(";")
        language = tag.strip().partition("-")[0]
        name, _, value = parameter.strip().partition("=")
        try:
            quality = float(value) if name == "q" else 1.0
        except ValueError:
            continue
        if language in TEXTS and best_quality < quality <= 1:
            best, best_quality = language, quality
    return best


def create_html(
    language: str,
    state: str,
    since: datetime | None,
    *,
    now: datetime | None = None,
    template: Template | None = None,
) -> str:
    """The page for somebody who comes while the update is in `state`, since `since`."""
    texts = TEXTS.get(language, TEXTS["en"])
    kind = state if state in {"rolling_back", "broken"} else "updating"
    return (template or _template()).safe_substitute(
        language=LANGUAGE_TAGS.get(language, "en"),
        kind=kind,
        retry_after=RETRY_AFTER_S,
        title=escape(texts["title_broken" if kind == "broken" else "title"]),
        text=escape(texts[kind]),
        steps=_steps(texts, STATE_TO_STEP.get(state, 0)) if kind == "updating" else "",
        since=_since(texts, since, now or datetime.now(UTC)) if since else "",
        reload=escape(texts["reload"].format(seconds=RETRY_AFTER_S)),
    )


@dataclass
class OwnPage:
    """The app's own page, read again when its file has changed."""

    path: str
    _identity: tuple[int, int, int] | None = field(init=False, default=None)
    _template: Template | None = field(init=False, default=None)
    _complaint: str = field(init=False, default="")

    def template(self) -> Template | None:
        """None, with a message in the log, where it cannot be read: our own page takes its place.

        A release that goes back may take its page along, so this is asked for every visitor.
        """
        try:
            found = Path(self.path).stat()
            identity = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._template is None or identity != self._identity:
                self._template = Template(read_own(self.path))
                self._identity = identity
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:
                logger.warning("The built-in maintenance page is shown: %s", error)
            self._complaint, self._template = str(error), None
        return self._template


def read_own(path: str) -> str:
    """The app's own page. Raises OSError, or ValueError for what is no text or too large."""
    with Path(path).open("rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise ValueError(f"{path} has more than {SIZE_LIMIT} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None


@cache
def _template() -> Template:
    return Template(Path(__file__).with_name("maintenance.html").read_text(encoding="utf-8"))


def _steps(texts: dict[str, str], at: int) -> str:
    items = []
    for step in range(len(STEPS)):
        status = "done" if step < at else "current" if step == at else "pending"
        current = ' aria-current="step"' if status == "current" else ""
        items.append(
            f'<li class="{status}"{current}>{escape(texts[f"step{step}"])}'
            f'<span class="hidden"> ({escape(texts[status])})</span></li>'
        )
    return f'<ol aria-label="{escape(texts["progress"])}">{"".join(items)}</ol>'


def _since(texts: dict[str, str], since: datetime, now: datetime) -> str:
    utc = since.astimezone(UTC)
    sentence = escape(texts["since"]).format(
        time=f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{utc:%H:%M:%S}</time>',
        elapsed=_elapsed(texts, max(0, int((now - since).total_seconds()))),
    )
    return f"<p>{sentence}</p>"


def _elapsed(texts: dict[str, str], seconds: int) -> str:
    unit, number = ("second", seconds) if seconds < 120 else ("minute", seconds // 60)
    return texts[unit] if number == 1 else texts[f"{unit}s"].format(n=number)
