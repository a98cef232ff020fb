"""What both stores promise, and which one the settings choose."""

import pytest

from realtime.conf import build_settings
from realtime.core.topics import Topic
from realtime.presence import Change, Member, Presence, open_presence
from realtime.presence.base import cut_changes, decode_member, encode_member
from realtime.presence.memory import MemoryPresence

ANNA = Member("s1", "one", "anna", 1_767_225_600_123_456)
NOBODY = Member("s2", "one", None, 1_767_225_600_123_457)


async def test_members_are_read_as_they_were_written(store: Presence, topic: Topic) -> None:
    await store.write([Change(topic, [ANNA, NOBODY])])
    (snapshot,) = await store.read([topic])
    assert sorted(snapshot.members, key=lambda member: member.since) == [ANNA, NOBODY]


async def test_a_topic_without_members_is_empty_at_version_0(store: Presence, topic: Topic) -> None:
    (snapshot,) = await store.read([topic])
    assert (snapshot.version, list(snapshot.members), snapshot.alive) == (0, [], [])
    assert await store.read_versions([topic]) == [0]


async def test_each_change_raises_the_version_by_one(store: Presence, topic: Topic) -> None:
    other = Topic(topic.namespace, topic.name + "b")
    one, two = await store.write([Change(topic, [ANNA]), Change(other, [NOBODY])])
    assert one > 0
    assert await store.write([Change(topic, [NOBODY], [ANNA.session])]) == [one + 1]
    assert await store.read_versions([topic, other]) == [one + 1, two]
    first, second = await store.read([topic, other])
    assert (first.version, first.members) == (one + 1, [NOBODY])
    assert (second.version, second.members) == (two, [NOBODY])


async def test_topics_begin_at_different_versions(store: Presence, topic: Topic) -> None:
    topics = [Topic(topic.namespace, f"{topic.name}{n}") for n in range(20)]
    assert len(set(await store.write([Change(each, [ANNA]) for each in topics]))) > 15


async def test_a_change_may_be_written_twice(store: Presence, topic: Topic) -> None:
    await store.write([Change(topic, [ANNA, NOBODY])])
    for _ in range(2):
        await store.write([Change(topic, [ANNA], [NOBODY.session])])
    (snapshot,) = await store.read([topic])
    assert list(snapshot.members) == [ANNA]


async def test_leaving_without_having_come_is_no_error(store: Presence, topic: Topic) -> None:
    await store.write([Change(topic, left=["nobody"])])
    (snapshot,) = await store.read([topic])
    assert list(snapshot.members) == []


async def test_an_instance_with_a_lease_is_alive(store: Presence, topic: Topic) -> None:
    await store.write([Change(topic, [ANNA])])
    await store.take_lease()
    assert await store.renew_lease()
    assert await store.find_alive(["one"]) == {"one"}
    (snapshot,) = await store.read([topic], instances=["one"])
    assert snapshot.alive == [ANNA]


async def test_members_of_an_instance_that_is_alive_are_not_forgotten(
    store: Presence, topic: Topic
) -> None:
    await store.write([Change(topic, [ANNA])])
    await store.take_lease()
    await store.forget("one", {topic: [ANNA.session]})
    (snapshot,) = await store.read([topic])
    assert list(snapshot.members) == [ANNA]


@pytest.mark.parametrize("member", [ANNA, NOBODY, Member("s", "i", "ünïcödé 名", 0)])
def test_a_member_survives_its_stored_form(member: Member) -> None:
    assert decode_member(member.session, encode_member(member)) == member


def test_changes_are_cut_by_the_number_of_sessions(topic: Topic) -> None:
    pair = Change(topic, [ANNA], [NOBODY.session])
    long = Change(topic, left=list("abcdef"))
    assert cut_changes([], size=4) == []
    assert cut_changes([pair] * 5, size=4) == [[pair, pair], [pair, pair], [pair]]
    assert cut_changes([pair, long, pair], size=4) == [[pair], [long], [pair]]


async def test_the_settings_choose_the_store() -> None:
    assert isinstance(open_presence(build_settings({}), instance="one"), MemoryPresence)
    remote = build_settings({"REDIS_URL": "redis://127.0.0.1:1/0"})
    store = open_presence(remote, instance="one")
    assert store.is_shared
    await store.close()
