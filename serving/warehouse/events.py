"""Events as DuckDB reads them: files as a view, and each request once.

Billing and reconciliation both take them from here: of records that differ under one id, they
count the same one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb

# Few ids come twice, so only these pay for being sorted.
_REPEATED: Final = """
CREATE OR REPLACE TEMP TABLE repeated AS
SELECT request_id FROM shipped GROUP BY request_id HAVING count(*) > 1
"""

_COPIES: Final = """
CREATE OR REPLACE TEMP TABLE copies AS
SELECT DISTINCT * FROM shipped SEMI JOIN repeated USING (request_id)
"""

# The first copy counts, in an order that no two copies share.
_ONCE: Final = """
CREATE OR REPLACE TEMP VIEW once AS
WITH first_copies AS (
    SELECT * FROM copies
    QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY ended, writer, copies) = 1
)
SELECT * FROM shipped ANTI JOIN repeated USING (request_id)
UNION ALL
SELECT * FROM first_copies
"""


def create_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    paths: Sequence[Path],
    wanted: Mapping[str, str],
) -> None:
    """Make a view of the wanted columns of Parquet files; without files, an empty one."""
    if paths:
        files = connection.read_parquet([str(path) for path in paths], hive_partitioning=False)
        files.select(*wanted).create_view(name)
        return
    nothing = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in wanted.items())
    connection.sql(f"SELECT {nothing} LIMIT 0").create_view(name)


def take_first_copies(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the view `once` of the view `shipped`, which has the columns of events.

    Leaves the tables `repeated`, of ids that come twice, and `copies`, of their different records.
    """
    for statement in (_REPEATED, _COPIES, _ONCE):
        connection.execute(statement)
