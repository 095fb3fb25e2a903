'''One file a command: its arguments, and what it prints. The work is done in the rooms below.

A command is a function `run` whose parameters are its arguments, annotated for typer, and that returns an exit code:

    """`muq-hf hello`: greets music files."""

    from typing import Annotated

    import typer

    from .exit_codes import DONE
    from .options import Device

    EXAMPLES = """
    muq-hf hello songs/ --times 3
    """

    def run(
        inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="audio file or folder")],
        times: Annotated[int, typer.Option(metavar="N", min=1, help="how often")] = 1,
        device: Device = "auto",
    ) -> int:
        """Paragraphs for `muq-hf hello --help`, below the summary; may be left out."""
        from ..inference.greeting import greet  # torch and the rooms are imported here, after cheap checks of the arguments

        print(greet(inputs, times, device))
        return DONE

and one line in `COMMANDS` of cli.py: `"hello": Entry("hello", "say hello to music files", "Your music")`.

- `--times` comes from the parameter's name, and the help shows its default. `bool` parameters are flags, `Literal[...]` choices.
- Options of type `list[...]` take one value or several: `--precision float32 int8`.
- Wrong values raise ValueError with one sentence, which becomes `muq-hf hello: error: ...` and exit code 2.
- `extras.require("sklearn")` comes before the imports that need an extra of the package.
- A command in a group has a name of two words, as "export onnx"; a module with several functions names one: "convert:muq".
- Options that several commands share are in options.py.
'''
