import pytest

from muq_hf.serving.credits import Credit, credit_of, read_credits, write_credits


def test_credits_are_found_by_the_end_of_a_path(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("path,title,author,license\nalbum/a.ogg,A,Anna,CC0-1.0\na.ogg,Other,,CC-BY-4.0\n")
    credits = read_credits(file)
    assert credit_of("/music/album/a.ogg", credits) == Credit("A", "Anna", "CC0-1.0")
    assert credit_of("/music/live/a.ogg", credits).title == "Other"
    assert credit_of("/music/album/b.ogg", credits) is None


def test_what_is_written_is_read_again(tmp_path):
    credits = {"audio/é.ogg": Credit("É", "Éva", "CC0-1.0", "https://example.org")}
    write_credits(tmp_path / "attribution.jsonl", credits)
    assert read_credits(tmp_path / "attribution.jsonl") == credits


@pytest.mark.parametrize(
    "text, words", [('{"path": "a.ogg"}\n', '"path" and "licence" are needed'), ("nonsense\n", "no list of credits")]
)
def test_lists_that_say_too_little_are_refused(text, words, tmp_path):
    (tmp_path / "list.jsonl").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_credits(tmp_path / "list.jsonl")
