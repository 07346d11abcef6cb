"""Make the golden files again from Apache RocketMQ's own jars.

    python -m tests.golden.regenerate 5.5.0=/path/to/jars-5.5.0 4.9.7=/path/to/jars-4.9.7

Each folder holds the jars of `rocketmq-broker` and `rocketmq-tools` with all they need (`mvn dependency:copy-dependencies`); Java 11 or
newer must be on the path. The files say what Java wrote, and what Java reads from the frames that this library wrote.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.golden.admin_cases import admin_cases
from tests.golden.allocation_cases import cases as allocations
from tests.golden.cases import all_cases
from tests.golden.signatures import requests
from tests.golden.sql_cases import input_lines

HERE = Path(__file__).parent
REPLACEMENTS = {
    "5": {
        "@PKG@": "org.apache.rocketmq.remoting.protocol",
        "@ADMIN@": "org.apache.rocketmq.remoting.protocol.admin",
        "@SUBSCRIPTION@": "org.apache.rocketmq.remoting.protocol.subscription",
        "@COMPRESS@": "org.apache.rocketmq.common.compression.CompressorFactory.getCompressor("
        "org.apache.rocketmq.common.compression.CompressionType.ZLIB).compress(large, 5)",
        "@ZLIB_FLAG@": "0x301",
        "@JSON@": "fastjson2",
        "//5 ": "",
    },
    "4": {
        "@PKG@": "org.apache.rocketmq.common.protocol",
        "@ADMIN@": "org.apache.rocketmq.common.admin",
        "@SUBSCRIPTION@": "org.apache.rocketmq.common.subscription",
        "@COMPRESS@": "UtilAll.compress(large, 5)",
        "@ZLIB_FLAG@": "0x301",
        "@JSON@": "fastjson",
    },
}


def run_java(source: Path, jars: Path, version: str, stdin: str = "") -> str:
    """Compile and run one source file with the jars of a version; return what it prints."""
    text = source.read_text()
    for old, new in REPLACEMENTS[version[0]].items():
        text = text.replace(old, new)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / source.name
        file.write_text(text)
        command = ["java", f"-Duser.home={folder}", "-cp", f"{jars}/*", str(file)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise SystemExit(done.stderr)
    return "".join(line + "\n" for line in done.stdout.splitlines() if line.startswith("{"))


def main(arguments: list[str]) -> None:
    if not arguments:
        raise SystemExit(__doc__)
    for argument in arguments:
        version, _, jars = argument.partition("=")
        (HERE / f"java-{version}.jsonl").write_text(run_java(HERE / "java" / "Golden.java", Path(jars), version))
        lines = "".join(case.line() + "\n" for case in all_cases(version))
        if version[0] == "5":
            (HERE / f"recall-{version}.jsonl").write_text(run_java(HERE / "java" / "RecallHandles.java", Path(jars), version))
            (HERE / f"receipts-{version}.jsonl").write_text(run_java(HERE / "java" / "Receipts.java", Path(jars), version))
        (HERE / f"trace-{version}.jsonl").write_text(run_java(HERE / "java" / "TraceRecords.java", Path(jars), version))
        (HERE / f"names-{version}.jsonl").write_text(run_java(HERE / "java" / "Names.java", Path(jars), version))
        (HERE / f"sql-{version}.jsonl").write_text(run_java(HERE / "java" / "SqlFilter.java", Path(jars), version, input_lines()))
        (HERE / f"view-{version}.jsonl").write_text(run_java(HERE / "java" / "JavaView.java", Path(jars), version, lines))
        lines = "".join(case.line() + "\n" for case in allocations())
        (HERE / f"allocation-{version}.jsonl").write_text(run_java(HERE / "java" / "Allocate.java", Path(jars), version, lines))
        lines = "".join(case.line() + "\n" for case in admin_cases())
        (HERE / f"records-{version}.jsonl").write_text(run_java(HERE / "java" / "AdminRecords.java", Path(jars), version, lines))
        lines = "".join(request.line() + "\n" for request in requests())
        (HERE / f"signatures-{version}.jsonl").write_text(run_java(HERE / "java" / "Signatures.java", Path(jars), version, lines))


if __name__ == "__main__":
    main(sys.argv[1:])
