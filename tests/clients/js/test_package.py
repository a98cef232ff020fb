"""The package as the README says to install it: its types, and its examples, in a fresh project."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.servers import ROOT, Server

PACKAGE = ROOT / "clients" / "js"
PACKAGES = PACKAGE / "node_modules"
# What a project brings itself: a compiler, and what the examples use in Node.
OWN = ("typescript", "@typescript", "@types", "ws", "undici-types")
TIMEOUT = 30.0  # s, for a machine that is very busy
STRICT = {
    "strict": True,
    "noEmit": True,
    "skipLibCheck": False,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "target": "es2022",
}
IN_NODE = {"lib": ["es2023"], "types": ["node"], "module": "nodenext"}
CONFIGURATIONS = {
    "nodenext, in Node": IN_NODE,
    "node16, in a page": {"lib": ["es2023", "dom"], "types": ["node"], "module": "node16"},
    "bundler, in a page": {
        "lib": ["es2023", "dom", "dom.iterable"],
        "types": ["node"],
        "module": "esnext",
        "moduleResolution": "bundler",
    },
}
README = (PACKAGE / "README.md").read_text()
EXAMPLES = {
    "example.mjs": re.findall(r"```js\n(.*?)```", README, re.DOTALL),
    "example.mts": re.findall(r"```ts\n(.*?)```", README, re.DOTALL),
}
# Of whatever is there at run time, the types say that it is there, and nothing besides.
LIST_EXPORTS = """
import * as all from "realtime-client";
const {prototype} = all.Stream;
const members = Reflect.ownKeys(prototype).filter((key) => typeof key === "string");
console.log(JSON.stringify([Object.keys(all), members.filter((key) => key !== "constructor")]));
"""

URL = "ws://127.0.0.1:8000/ws/stats/host.cpu/"  # in the examples


def run(folder: Path, *command: str) -> str:
    """What a program of Node's prints; its errors are the test's."""
    program = shutil.which(command[0], path=Path(sys.executable).parent)
    assert program, "these tests need Node, a package of requirements-dev.txt"
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["folder", "tarball"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the package in it, from the folder or as `npm pack` makes it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    source = PACKAGE
    if request.param == "tarball":
        source = folder / run(PACKAGE, "npm", "pack", "--pack-destination", str(folder)).strip()
    run(folder, "npm", "install", "--offline", "--no-audit", "--no-fund", str(source))
    for name in OWN:
        (folder / "node_modules" / name).symlink_to(PACKAGES / name)
    return folder


def compile_files(project: Path, options: dict[str, object], **files: str) -> None:
    """`tsc` finds nothing wrong with them."""
    for name, text in files.items():
        (project / name).write_text(text)
    config = {"compilerOptions": {**STRICT, **options}, "files": [*files]}
    (project / "tsconfig.json").write_text(json.dumps(config))
    run(project, "node", "node_modules/typescript/bin/tsc", "--project", ".")


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_examples_of_the_readme_pass_a_strict_compiler(
    project: Path, configuration: str
) -> None:
    files = {name: code for name, (code,) in EXAMPLES.items()}
    compile_files(
        project, {**CONFIGURATIONS[configuration], "allowJs": True, "checkJs": True}, **files
    )


def test_the_types_cover_whatever_is_public(project: Path) -> None:
    (project / "list.mjs").write_text(LIST_EXPORTS)
    names, members = json.loads(run(project, "node", "list.mjs"))
    lines = [f"import {{ {', '.join(names)} }} from 'realtime-client';", "declare const s: Stream;"]
    lines += [f"export const the_{name}: unknown = {name};" for name in names]
    lines += [f"export const its_{name}: unknown = s.{name};" for name in members]
    compile_files(project, IN_NODE, **{"all.mts": "\n".join(lines)})


def test_a_mistake_is_found_by_the_types(project: Path) -> None:
    wrong = """
import { connect } from "realtime-client";
const stream = connect("ws://127.0.0.1/ws/broadcast/t/", { maxRetries: "three" });
stream.publsh(1);
stream.addEventListener("publication", ({ detail }) => detail.nothing);
"""
    with pytest.raises(AssertionError) as caught:
        compile_files(project, IN_NODE, **{"wrong.mts": wrong})
    assert {*re.findall(r"wrong.mts\((\d)", str(caught.value))} == {"3", "4", "5"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_readme_run(
    project: Path, client_server: Server, client_token: str, name: str
) -> None:
    (code,) = EXAMPLES[name]
    assert URL in code
    url = f"{client_server.ws}/ws/stats/readme.{Path(name).suffix[1:]}.{project.name}/"
    (project / name).write_text(code.replace(URL, url))
    node = shutil.which("node", path=Path(sys.executable).parent)
    assert node, "these tests need Node, a package of requirements-dev.txt"
    deadline = time.monotonic() + TIMEOUT
    process = subprocess.Popen(
        [node, name],
        cwd=project,
        env={"TOKEN": client_token},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # the package's `node` starts the real one
    )
    headers = {"Authorization": f"Bearer {client_token}"}
    try:
        with connect(f"{url}?subscribe=0", additional_headers=headers) as socket:
            assert process.stdout is not None
            while not select.select([process.stdout], [], [], 0.5)[0]:
                assert time.monotonic() < deadline
                socket.send(json.dumps({"value": 2}))
            line = process.stdout.readline()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert line == b"2 2\n"


def test_the_types_are_those_of_the_source(tmp_path: Path) -> None:
    emit = (
        "--noEmit",
        "false",
        "--declaration",
        "--emitDeclarationOnly",
        "--outDir",
        str(tmp_path),
    )
    run(PACKAGE, "node", "node_modules/typescript/bin/tsc", "--project", ".", *emit)
    shutil.copy(PACKAGE / "src" / "types.d.ts", tmp_path)
    for path in (PACKAGE / "types").glob("*.d.ts"):
        if path.name != "index.d.ts":
            assert path.read_text() == (tmp_path / path.name).read_text(), "run: npm run types"
