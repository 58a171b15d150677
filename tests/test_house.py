"""The rules of the house: imports point one way, everything public is documented, help shows examples that exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

import enxuto
from enxuto.cli import app
from enxuto.errors import CODES

SOURCE = Path(enxuto.__file__).parent
ROOT = SOURCE.parent.parent

# The house from the ground up: a room may import from those named beside it, and from those of `OPEN`.
MAY_IMPORT = {
    "archive": set(),
    "onnx_model": set(),
    "data": set(),
    "metrics": set(),
    "zoo": set(),
    "study": set(),
    "demo": set(),
    "runtime": {"onnx_model"},
    "latency": {"runtime"},
    "evaluation": {"data", "metrics"},
    "quantize": {"onnx_model"},
    "codec": {"quantize"},
    "rounding": {"codec", "quantize"},
    "enx": {"codec", "metrics", "onnx_model", "quantize"},
    "opening": {"data", "enx", "onnx_model", "runtime"},
    "classifier": {"data", "metrics", "onnx_model", "opening", "runtime"},
    "weights": {"onnx_model", "quantize"},
    "feature_maps": {"onnx_model", "runtime"},
    "compare": {"data", "evaluation", "metrics", "onnx_model", "runtime"},
    "calibration": {"data", "enx", "metrics", "onnx_model", "quantize", "rounding", "runtime"},
    "compression": {
        "calibration",
        "codec",
        "data",
        "enx",
        "evaluation",
        "metrics",
        "onnx_model",
        "opening",
        "quantize",
        "rounding",
        "runtime",
    },
    "differences": {"codec", "compression", "enx", "onnx_model", "opening", "quantize", "rounding"},
    "model_evaluation": {
        "calibration",
        "classifier",
        "compression",
        "data",
        "enx",
        "evaluation",
        "metrics",
        "onnx_model",
        "opening",
        "runtime",
    },
    "summary": {"enx", "onnx_model", "opening", "zoo"},
    "train": {"archive", "data", "zoo"},
    "importing": {"archive", "onnx_model", "opening", "runtime", "zoo"},
    "export": {"archive", "data", "onnx_model", "opening", "runtime", "zoo"},
    "measure": {"data", "export", "latency", "runtime", "summary", "train", "zoo"},
    "prune": {"archive", "data", "export", "importing", "latency", "runtime", "summary", "train", "zoo"},
    "retraining": {
        "archive",
        "codec",
        "compression",
        "enx",
        "importing",
        "metrics",
        "onnx_model",
        "prune",
        "quantize",
        "rounding",
        "runtime",
        "summary",
        "train",
    },
    "studies": {
        "archive",
        "calibration",
        "codec",
        "compression",
        "data",
        "enx",
        "evaluation",
        "importing",
        "measure",
        "metrics",
        "onnx_model",
        "opening",
        "prune",
        "quantize",
        "runtime",
        "study",
        "train",
        "weights",
        "zoo",
    },
    "slimming": {
        "compression",
        "data",
        "enx",
        "export",
        "latency",
        "onnx_model",
        "opening",
        "prune",
        "runtime",
        "studies",
        "study",
        "summary",
        "train",
    },
    "report": {"studies", "study", "weights"},
    "doctor": {"calibration", "compression", "data", "demo", "enx", "onnx_model", "runtime"},
    "cli": None,  # anything
    "__main__": {"cli"},
    "__init__": None,  # names for the type checker; nothing at run time
}
OPEN = {"errors", "escaping", "files", "machine", "progress", "tables", "_version"}
WITH_TORCH = {
    "archive",
    "zoo",
    "summary",
    "importing",
    "export",
    "train",
    "measure",
    "prune",
    "retraining",
    "studies",
    "slimming",
    "cli",
}
NO_TORCH = set(MAY_IMPORT) - WITH_TORCH


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    """A file of the package, parsed once for all rules."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All that a file of the package is made of, walked through once for all rules."""
    return tuple(ast.walk(tree_of(path)))


def room_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Full names of all modules imported anywhere in a file."""
    found: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_no_room_is_above_one_that_it_imports() -> None:
    floors = list(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        for other in allowed or ():
            assert floors.index(other) < floors.index(room) or room == "__main__", f"{other} is above {room}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT or room in OPEN, f"{room} is a new room: say in this test what it may import"
    allowed = MAY_IMPORT.get(room, set())
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "enxuto" and allowed is not None:
            other = parts[1] if len(parts) > 1 else "__init__"
            assert other in allowed | OPEN | {room}, f"{room} imports {name}"
        if room in NO_TORCH:
            assert parts[0] not in ("torch", "torchvision"), f"{room} imports torch"


# Where names are imported, and whose names these are: never a file's.
IMPORTERS = {
    "__init__.py": "names of the package's own",
    "cli/__init__.py": "the verbs",
    "cli/shared/judging.py": "module:function of --judge, as the user wrote it",
    "doctor.py": "packages by their names in the code",
    "errors.py": "optional packages by their names in the code",
    "measure/__init__.py": "names of the package's own",
    "prune/__init__.py": "names of the package's own",
    "study/point.py": "functions of points, which the caller's program makes",
    "summary/target.py": "module:factory, as the user wrote it",
    "train/__init__.py": "names of the package's own",
    "zoo/__init__.py": "families of the registry",
}


def test_no_file_chooses_what_is_imported_or_run() -> None:
    """A new importer must say here whose names it imports; pickles are read by torch's safe reader."""
    importers = set()
    for path in modules():
        place = str(path.relative_to(SOURCE))
        for node in nodes_of(path):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name.split(".")[-1] in ("import_module", "__import__", "run_module", "run_path"):
                importers.add(place)
            assert name not in ("eval", "exec", "pickle.load", "torch.jit.load"), place
            if name == "pickle.loads":
                # Compiled loops as Numba keeps them, written by this user in a folder that nobody else writes to.
                assert place == "machine/kernels.py", place
                assert ast.unparse(node).startswith("pickle.loads(self._checked("), place
            if name == "torch.load":
                assert place == "archive.py", f"{place}: read it with enxuto.archive"
                assert "weights_only=True" in ast.unparse(node)
            if name.split(".")[-1] in ("load", "read_array") and "allow_pickle" in ast.unparse(node):
                assert "allow_pickle=False" in ast.unparse(node), place
    assert importers == set(IMPORTERS)


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
NOT_OURS = {"--nproc-per-node"}  # torchrun's


def test_only_the_command_line_speaks_of_options() -> None:
    """Messages of other rooms name arguments as Python has them, `max_kl=`; `cli` makes options of them."""
    for path in modules():
        if room_of(path) in ("cli", "report"):  # pages show commands
            continue
        docs = {id(node.value) for node in nodes_of(path) if isinstance(node, ast.Expr)}
        for node in nodes_of(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                if "enxuto " in node.value or node.value.startswith(" --folder"):
                    continue  # a whole command
                assert set(OPTION.findall(node.value)) <= NOT_OURS, f"{path}:{node.lineno} {node.value}"


def test_names_for_types_alone_are_not_read_when_run() -> None:
    """What is imported for the type checker alone does not exist when the code runs."""
    for path in modules():
        tree = tree_of(path)
        guarded = [
            node
            for node in tree.body
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ]
        names = {name for node in guarded for name in imported(node)}
        rest = ast.Module([node for node in tree.body if node not in guarded], [])
        assert not list(read_when_run(rest, names)), path


def imported(tree: ast.AST) -> set[str]:
    """Names that imports anywhere in a piece of code give."""
    found = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {(item.asname or item.name).split(".")[0] for node in found for item in node.names}


def read_when_run(node: ast.AST, names: set[str]) -> Iterator[str]:
    """Those of the names that are read outside of annotations, where no import within the function gives them."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        yield f"{node.id} in line {node.lineno}"
    parts: Iterable[ast.AST | None] = ast.iter_child_nodes(node)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        names = names - imported(node)
        parts = [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *node.body]
    elif isinstance(node, ast.AnnAssign):
        parts = [node.value]
    for part in parts:
        if part is not None:
            yield from read_when_run(part, names)


def test_core_needs_no_torch_and_import_is_cheap() -> None:
    code = (
        "import sys, enxuto; assert not {'numpy', 'onnx', 'numba'} & set(sys.modules);"
        "[getattr(enxuto, name) for name in enxuto.__all__];"
        "assert not {'torch', 'pyarrow', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_exported_names_exist_and_are_documented() -> None:
    assert len(set(enxuto.__all__)) == len(enxuto.__all__)
    for name in enxuto.__all__:
        value = getattr(enxuto, name)
        if name != "__version__":
            assert inspect.getdoc(value), name
    assert callable(enxuto.compress)
    assert callable(enxuto.evaluate)


def public_members() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for info in pkgutil.walk_packages([str(SOURCE)], "enxuto."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        assert module.__doc__, f"{info.name} does not say what it is"
        found += [(f"{info.name}.{name}", getattr(module, name)) for name in getattr(module, "__all__", [])]
    return found


def test_every_public_name_is_documented() -> None:
    undocumented = []
    for name, value in public_members():
        if inspect.isfunction(value) or inspect.isclass(value):
            if not inspect.getdoc(value):
                undocumented.append(name)
            elif inspect.isclass(value):
                undocumented += [
                    f"{name}.{method}"
                    for method, body in vars(value).items()
                    if not method.startswith("_")
                    and getattr(body, "__module__", "enxuto").startswith("enxuto")
                    and (inspect.isfunction(body) or isinstance(body, (property, classmethod)))
                    and not inspect.getdoc(getattr(value, method))
                ]
    assert not undocumented


def verbs() -> list[str]:
    return [command.name or "" for command in app.registered_commands]


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_help_with_two_examples(verb: str) -> None:
    module = importlib.import_module(f"enxuto.cli.{verb}")
    examples = re.findall(rf"^\s*enxuto {verb}.*$", module.HELP, re.MULTILINE)
    assert len(examples) >= 2, module.HELP
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    shown = " ".join(result.output.split())
    for example in examples:
        known = set(re.findall(r"--[a-z][a-z-]*", result.output)) | {"-o", "--help"}
        options = re.findall(r"(?<=\s)--?[a-z][a-z-]*", example)
        assert set(options) <= known, f"{example!r} uses an option that does not exist"
    assert "--json" in shown or verb == "export"


# The calls that the documentation shows, with all that can be asked for.
DOCUMENTED_AT_LENGTH = {"compress", "compress_within"}


def test_no_file_or_function_is_too_long() -> None:
    for path in modules():
        text = path.read_text()
        assert len(text.splitlines()) <= 350, f"{path} is too long: split it by idea"
        for node in nodes_of(path):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                # Parameters are counted by the next test. A docstring is counted, unless it is a page.
                is_page = node.name in DOCUMENTED_AT_LENGTH and len(node.body) > 1
                start = node.body[1 if is_page else 0].lineno
                assert node.end_lineno - start < 70, f"{path}:{node.lineno} {node.name} is too long"


def test_no_function_of_the_command_line_takes_too_many_parameters() -> None:
    """What many options say comes as dataclasses (`cli.shared.options`)."""
    for path in (SOURCE / "cli").rglob("*.py"):
        for node in nodes_of(path):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert len(taken) <= 12, f"{path}:{node.lineno} {node.name} takes {len(taken)} parameters"


def test_version_is_the_changelogs() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {enxuto.__version__}" in changelog


def test_the_page_of_errors_lists_exactly_the_codes() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    sections = re.split(r"^### (.*)$", page, flags=re.MULTILINE)
    assert sections[1::2] == list(CODES)
    for code, text in zip(sections[1::2], sections[2::2], strict=True):
        assert re.search(r"^> \S", text, re.MULTILINE), f"{code} has no example"
        assert len(text.split()) > 8, f"{code} says too little"


def codes_in(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What is said by `code=` in calls and classes, where it looks like a code."""
    for node in nodes:
        value: ast.expr | None = None
        named = isinstance(node, ast.Assign) and any(ast.unparse(target) == "code" for target in node.targets)
        if isinstance(node, (ast.keyword, ast.Assign)) and (named or getattr(node, "arg", None) == "code"):
            value = node.value
        if value is not None:
            texts = (part.value for part in ast.walk(value) if isinstance(part, ast.Constant))
            yield from (text for text in texts if isinstance(text, str) and re.match(r"E\d", text))


def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    unknown = {
        f"{path.relative_to(SOURCE)}: {code}"
        for path in modules()
        for code in codes_in(nodes_of(path))
        if code not in CODES
    }
    assert not unknown
