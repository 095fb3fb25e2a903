"""Cards hold what they were given, and the Hub can read their metadata."""

from huggingface_hub import ModelCard, ModelCardData

from muq_hf.storage.card_writer import card, card_table, read_card_data


def test_a_card_reads_back(tmp_path):
    data = ModelCardData(license="mit", tags=["music"], base_model="a/b")
    card(data, "Title", "What it is.", "import muq_hf", [("## Scores", card_table(("a", "b"), [("x", 0.123456)]))]).save(
        tmp_path / "README.md"
    )
    assert read_card_data(tmp_path).to_dict() == data.to_dict()
    text = ModelCard.load(tmp_path / "README.md").text
    assert "```python\nimport muq_hf\n```\n\n## Scores\n\n| a | b |\n|---|---|\n| x | 0.1235 |" in text


def test_text_that_looks_like_metadata_or_a_template_stays_text(tmp_path):
    data = ModelCardData(license="mit", base_model="x\n---\nlicense: evil")
    card(data, "{{ title }}", "---\nlicense: evil\n---", "").save(tmp_path / "README.md")
    found = read_card_data(tmp_path)
    assert (found.license, found.base_model) == ("mit", data.base_model)
    assert "# {{ title }}" in (tmp_path / "README.md").read_text()


def test_a_folder_without_a_card_has_none(tmp_path):
    assert read_card_data(tmp_path) is None


def test_a_name_does_not_break_a_table():
    assert card_table(("file",), [("a|b\nc\x1b[2J",)]).splitlines()[2:] == [r"| a\|b\\nc\\x1b\[2J |"]


def test_a_strangers_label_in_a_title_or_cell_is_no_link_and_no_html():
    label = "[free](http://evil) <img src=x>"
    text = str(card(ModelCardData(license="mit"), label, "", "", [("## Labels", card_table(("label",), [(label,)]))]))
    shown = r"\[free\](http://evil) \<img src=x\>"
    assert f"# {shown}\n" in text and f"| {shown} |" in text and label not in text
