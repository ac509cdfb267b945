"""What administrators are told: a template for each event, in English and Chinese; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from surefoot.update import events

if TYPE_CHECKING:
    from collections.abc import Sequence

URGENT = frozenset({"broken", "crashing"})
"""Are told at once, whatever the hour."""
LISTED = 20
"""Events that one message tells of; of more, their number."""

TEMPLATES: dict[str, dict[str, str]] = {
    "en": {
        "requested": "Update to {ref} ({to}) has begun.",
        "staged": "{ref} ({to}) is ready; the app will be stopped for it.",
        "committed": "Updated to {ref} ({to}); the app was away for {window}.",
        "went_back": "Went back to {to}. {reason}",
        "restored_backup": "A backup was put in place of the database.",
        "rolled_back": "The update to {ref} ({to}) was rolled back; {from_} serves. {reason}",
        "unhealthy": "The update to {ref} ({to}) was rolled back, and {from_} is not healthy "
        "either: look at it. {reason}",
        "abandoned": "The update to {ref} was given up; the app was not touched. {reason}",
        "held": "Waits for you: {text}",
        "broken": "BROKEN, the app does not run and a person is needed: {reason} "
        "`surefoot status` says what to do.",
        "crashing": "The app crashes again and again: {text}",
        "lock_damaged": "The journal of an update was damaged: {text}",
        "refused": "Turned down: {reason}",
        "test": "This is a test: notifications work.",
        "unknown": "an unknown release",
        "more": "... and {count} more: see `surefoot history`.",
    },
    "zh": {
        "requested": "开始更新到 {ref}（{to}）。",
        "staged": "{ref}（{to}）已就绪，即将停止应用以完成切换。",
        "committed": "已更新到 {ref}（{to}），应用中断 {window}。",
        "went_back": "已退回到 {to}。{reason}",
        "restored_backup": "已用备份恢复数据库。",
        "rolled_back": "更新到 {ref}（{to}）失败，已回滚，{from_} 正在服务。{reason}",
        "unhealthy": "更新到 {ref}（{to}）失败，已回滚，但 {from_} 也不健康，请检查。{reason}",
        "abandoned": "更新到 {ref} 已放弃，应用未受影响。{reason}",
        "held": "等待您处理：{text}",
        "broken": "严重故障：应用未运行，需要人工处理。{reason} "
        "请运行 `surefoot status` 查看处理方法。",
        "crashing": "应用反复崩溃：{text}",
        "lock_damaged": "更新日志文件已损坏：{text}",
        "refused": "请求被拒绝：{reason}",
        "test": "这是一条测试消息：通知功能正常。",
        "unknown": "未知版本",
        "more": "……另有 {count} 条，请运行 `surefoot history` 查看。",
    },
}
KNOWN = frozenset(TEMPLATES["en"]) - {
    "went_back", "restored_backup", "unhealthy", "test", "unknown", "more"
}  # fmt: skip
"""Events that have a template."""


@dataclass(frozen=True)
class Message:
    """One message, of one event or of several."""

    title: str
    body: str
    urgent: bool = False


def message(found: Sequence[events.Event], *, app: str, host: str, language: str) -> Message:
    """Tells of these events, the oldest first."""
    words = TEMPLATES[language]
    lines = [told(event, language) for event in found[-LISTED:]]
    if len(found) > LISTED:
        lines.append(words["more"].format(count=len(found) - LISTED))
    urgent = any(event.name in URGENT for event in found)
    return Message(f"{app} @ {host}", "\n".join(lines), urgent)


def told(event: events.Event, language: str) -> str:
    """One event in a sentence."""
    words = TEMPLATES[language]
    facts = {"text": event.text, "reason": "", "window": "?", "from_": "", "ref": "", "to": ""}
    if isinstance(event, events.Ended | events.Requested):
        facts["to"] = event.to or words["unknown"]
        facts["from_"] = event.from_ or words["unknown"]
        facts["ref"] = event.ref or facts["to"]
    if isinstance(event, events.Ended):
        window = event.durations.get("window")
        facts["window"] = "?" if window is None else f"{window:.1f} s"
    facts["reason"] = str(getattr(event, "reason", ""))
    return words[_template(event)].format(**facts).strip()


def _template(event: events.Event) -> str:
    match event:
        case events.Committed() if event.kind == "restore":
            return "restored_backup"
        case events.Committed() if event.kind == "rollback":
            return "went_back"
        case events.RolledBack() if not event.healthy:
            return "unhealthy"
    return event.name


def quiet_until(now: datetime, quiet: str | None) -> datetime:
    """When the quiet hours that `now` falls into are over; `now` where it falls into none.

    `quiet` is such as `22:00-07:00`, in the zone of `now`.
    """
    if not quiet:
        return now
    begin, end = (time.fromisoformat(part.strip()) for part in quiet.split("-"))
    today = now.replace(second=0, microsecond=0)
    for day in (today - timedelta(days=1), today):
        begins = day.replace(hour=begin.hour, minute=begin.minute)
        ends = day.replace(hour=end.hour, minute=end.minute)
        if end <= begin:
            ends += timedelta(days=1)
        if begins <= now < ends:
            return ends
    return now
