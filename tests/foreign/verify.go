// Verifies a published log with the Go project's own packages sumdb/note and sumdb/tlog, and nothing of ours: the
// checkpoint and each older one under a vkey, every entry's hash in the tree, inclusion proofs around every boundary of
// a tile, and consistency of each older checkpoint with the last. Prints one JSON; the first thing wrong ends it with 1.
//
// The only difference between the two worlds is an address: C2SP leaves out the height that tlog writes into the path
// of a tile, because it is always 8.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8
const width = 1 << height

// A log at an address or in a folder, as a tlog.TileReader.
type published struct {
	at    string
	tiles map[string][]byte
}

func (p *published) read(path string) ([]byte, error) {
	if !strings.Contains(p.at, "://") {
		return os.ReadFile(filepath.Join(p.at, path))
	}
	answer, err := http.Get(p.at + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

func (p *published) Height() int { return height }

func (p *published) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, tile := range tiles {
		p.tiles[tile.Path()] = data[i]
	}
}

func (p *published) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, known := p.tiles[tile.Path()]
		if !known {
			var err error
			path := "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
			if data, err = p.read(path); err != nil {
				return nil, err
			}
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s: %d bytes", tile.Path(), len(data))
		}
		found[i] = data
	}
	return found, nil
}

// Entries of a bundle: each after its length in two bytes.
func (p *published) entries(nr, number int64) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: 0, N: nr, W: int(number)}
	path := "tile/entries/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/0/", height))
	data, err := p.read(path)
	if err != nil {
		return nil, err
	}
	var found [][]byte
	for len(data) >= 2 {
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			break
		}
		found, data = append(found, data[2:2+length]), data[2+length:]
	}
	if len(data) != 0 || int64(len(found)) != number {
		return nil, fmt.Errorf("%s: not %d entries", path, number)
	}
	return found, nil
}

func opened(text []byte, key note.Verifier) (tlog.Tree, error) {
	read, err := note.Open(text, note.VerifierList(key))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(read.Text, "\n")
	if len(lines) != 4 || lines[0] != key.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s: %q", key.Name(), read.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// Every entry of a bundle has, in the tree, the hash that it has.
func hashed(log *published, tree tlog.Tree, hashes tlog.HashReader, nr int64) (int, error) {
	number := tree.N - nr*width
	if number > width {
		number = width
	}
	entries, err := log.entries(nr, number)
	if err != nil {
		return 0, err
	}
	indexes := make([]int64, number)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, nr*width+int64(i))
	}
	leaves, err := hashes.ReadHashes(indexes)
	if err != nil {
		return 0, err
	}
	for i, entry := range entries {
		if tlog.RecordHash(entry) != leaves[i] {
			return 0, fmt.Errorf("entry %d has not the hash that the tree has", nr*width+int64(i))
		}
	}
	proved := 0
	for _, i := range []int{0, 1, len(entries) - 1} {
		if i >= len(entries) {
			continue
		}
		index := nr*width + int64(i)
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entries[i])); err != nil {
			return 0, fmt.Errorf("entry %d: %v", index, err)
		}
		proved++
	}
	return proved, nil
}

// Each older checkpoint, a line {"size", "note"} of the file, is one of the same log's past.
func consistent(file string, key note.Verifier, tree tlog.Tree, hashes tlog.HashReader) (int, error) {
	list, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer list.Close()
	lines := bufio.NewScanner(list)
	lines.Buffer(nil, 1<<20)
	proved := 0
	for lines.Scan() {
		var line struct {
			Size int64
			Note string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return proved, err
		}
		older, err := opened([]byte(line.Note), key)
		if err != nil {
			return proved, fmt.Errorf("checkpoint of size %d: %v", line.Size, err)
		}
		if older.N < 1 || older.N > tree.N {
			continue
		}
		proof, err := tlog.ProveTree(tree.N, older.N, hashes)
		if err != nil {
			return proved, err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash); err != nil {
			return proved, fmt.Errorf("checkpoint of size %d: %v", line.Size, err)
		}
		proved++
	}
	return proved, lines.Err()
}

func run(at, vkey, older string) (map[string]any, error) {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	log := &published{at, map[string][]byte{}}
	text, err := log.read("checkpoint")
	if err != nil {
		return nil, err
	}
	tree, err := opened(text, key)
	if err != nil {
		return nil, err
	}
	hashes := tlog.TileHashReader(tree, log)
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil || root != tree.Hash {
		return nil, fmt.Errorf("the tiles do not have the root of the checkpoint: %v", err)
	}
	included, consistencies := 0, 0
	for nr := int64(0); nr*width < tree.N; nr++ {
		proved, err := hashed(log, tree, hashes, nr)
		if err != nil {
			return nil, err
		}
		included += proved
	}
	if older != "" {
		if consistencies, err = consistent(older, key, tree, hashes); err != nil {
			return nil, err
		}
	}
	return map[string]any{"size": tree.N, "root": tree.Hash.String(), "included": included, "consistent": consistencies}, nil
}

func main() {
	at := flag.String("log", "", "address or folder of the log")
	vkey := flag.String("key", "", "vkey of the log")
	older := flag.String("older", "", "file of older checkpoints")
	flag.Parse()
	found, err := run(*at, *vkey, *older)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		os.Exit(1)
	}
}
