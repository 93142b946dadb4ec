#!/bin/sh
# Make made/, files.txt, state_dicts.txt and machine.txt with the code of commit bb2c827:
#
#   git clone . ../base && git -C ../base checkout bb2c827       and a .venv in it
#   tests/on_disk/make.sh ../base
#
# made/input was drawn the first time and is kept: another version of OpenCV may draw other pixels.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
base=$(cd "$1" && pwd)
work=$base/artefacts
python=$base/.venv/bin/python
test "$(git -C "$base" rev-parse --short=7 HEAD)" = bb2c827
export OMP_NUM_THREADS=1 NO_ALBUMENTATIONS_UPDATE=1 ORT_DISABLE_TELEMETRY=1 PYTHONPATH="$base"

rm -rf "$work"
mkdir -p "$work"
cp -r "$base/configs" "$work"
cp -r "$here/configs" "$work"
cd "$work"
if [ ! -d "$here/made/input" ]; then
    "$python" -m comp data demo --per-class 4 --test 8 --root drawn
    "$python" "$here/shrink.py"
    mkdir -p "$here/made"
    cp -r input "$here/made"
    rm -r drawn input
fi
cp -r "$here/made/input" .
find input -type f -exec touch -d @1700000000 {} +  # times are part of a cache key

"$python" "$here/replay.py" "$base" "$here/commands.txt"
"$python" "$here/state_dicts.py" > "$here/state_dicts.txt"
PYTHONPATH="$here/../.." "$python" -c "from tests.on_disk.workspace import describe_machine as it; print(it())" \
    > "$here/machine.txt"

find . -type f ! -name '*.lock' ! -path './configs/*' ! -path './input/*' |
    sed 's|^\./||; s|again-[0-9]*-[0-9]*-[0-9]*|again-TIME|' | LC_ALL=C sort > "$here/files.txt"
# Not stored: large files, and files without names.
rm -rf runs/.cache runs/.replaced runs/debug runs/again runs/papers/mini/row runs/stages/fold0/*.pt
find . -name '*.lock' -delete
find . -name '*.png' ! -path './input/*' -delete
for made in folds runs submissions stdout; do
    rm -rf "$here/made/$made"
    cp -r "$made" "$here/made"
done
mkdir -p "$here/made/configs/studies"
cp configs/studies/few.winner.yaml "$here/made/configs/studies"
