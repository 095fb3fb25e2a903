"""Words of a manifest and how they become captions."""

import json

import numpy as np
import pytest

from muq_hf.training.captions import CaptionWriter, Words, number_of, read_templates, read_words


def captions(writer, words, count=400):
    return [writer(words, np.random.default_rng([7, number])) for number in range(count)]


@pytest.fixture
def manifest(tmp_path):
    def write(*entries):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
        return path

    return write


def test_words_belong_to_a_file_from_its_start(manifest):
    path = manifest({"path": "a.flac", "text": "calm"}, {"path": "a.flac", "start": 10, "tags": ["rock", "loud"]})
    assert read_words(path) == {
        (str(path.parent / "a.flac"), 0.0): Words(("calm",), ()),
        (str(path.parent / "a.flac"), 10.0): Words((), ("rock", "loud")),
    }


def test_tags_of_a_table_are_separated_by_semicolons(tmp_path):
    (tmp_path / "pairs.csv").write_text("path,tags\na.flac,rock; loud\n", "utf-8")
    assert list(read_words(tmp_path / "pairs.csv").values()) == [Words((), ("rock", "loud"))]


def test_a_track_may_have_a_line_for_each_caption(manifest):
    path = manifest(
        *[{"path": "a.flac", "text": text} for text in ("calm", "slow", "calm")], {"path": "a.flac", "tags": ["rock"]}
    )
    assert list(read_words(path).values()) == [Words(("calm", "slow"), ("rock",))]


@pytest.mark.parametrize("entry", [{}, {"text": ""}, {"tags": []}, {"tags": [3]}, {"text": ["a", " "]}])
def test_a_track_without_words_is_named_by_its_line(manifest, entry):
    with pytest.raises(ValueError, match="line 2: needs `text`"):
        read_words(manifest({"path": "a.flac", "text": "calm"}, {"path": "b.flac", **entry}))


def test_the_plain_share_of_tag_captions_is_kept():
    writer = CaptionWriter(["This is {tags} music.", "一首{tags}的歌"], plain_tag_share=0.5)
    made = captions(writer, Words((), ("rock",)))
    assert set(made) == {"rock", "This is rock music.", "一首rock的歌"}
    assert 0.4 < made.count("rock") / len(made) < 0.6


def test_tags_come_in_any_order_and_all_of_them():
    made = captions(CaptionWriter([], 0.5), Words((), ("a", "b", "c")))
    assert len(set(made)) == 6 and all(sorted(caption.split(", ")) == ["a", "b", "c"] for caption in made)


def test_texts_and_tags_are_equally_likely():
    made = captions(CaptionWriter([], 1.0), Words(("one", "two"), ("tag",)))
    assert all(0.25 < made.count(caption) / len(made) < 0.42 for caption in ("one", "two", "tag"))


@pytest.mark.parametrize("content", ["", "no place for tags\n"])
def test_templates_need_a_place_for_the_tags(tmp_path, content):
    (tmp_path / "templates.txt").write_text(content)
    with pytest.raises(ValueError, match=r"must hold \{tags\}"):
        read_templates(tmp_path / "templates.txt")


def test_numbers_of_texts_fit_a_tensor_and_differ():
    numbers = [number_of(text) for text in ("a", "b", "钢琴")]
    assert len(set(numbers)) == 3 and all(0 <= number < 2**63 for number in numbers)
