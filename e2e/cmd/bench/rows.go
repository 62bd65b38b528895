package main

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
)

// rowsVersion changes with the tables below, so that old data is made anew.
const rowsVersion = "1"

// table is one of the shop's tables for engines that are filled from text files: the same data in all of them, of the same kind as
// shopSQL makes.
type table struct {
	name, columns string
	perMiB        int // rows for each MiB of dump
	row           func(p *prose, b []byte, i int) []byte
}

// tables are described in words that MariaDB and SQLite both know.
var tables = []table{
	{
		"customers", "id INTEGER PRIMARY KEY, email VARCHAR(200) NOT NULL, name VARCHAR(200) NOT NULL, city VARCHAR(100) NOT NULL, " +
			"balance DECIMAL(12,2) NOT NULL, active SMALLINT NOT NULL, created_at DATETIME NOT NULL, token CHAR(32) NOT NULL", 230,
		func(p *prose, b []byte, i int) []byte {
			b = p.field(b, strconv.Itoa(i))
			b = append(append(append(append(b, p.word()...), '.'), p.word()...), strconv.Itoa(i)...)
			b = p.field(b, "@example.com")
			b = append(append(b, p.word()...), ' ')
			b = p.field(b, p.word())
			b = p.field(b, p.word())
			b = p.field(p.money(b, 1_000_000), "")
			b = p.field(b, strconv.Itoa(p.IntN(2)))
			b = p.field(p.moment(b, p.IntN(5*365*24*3600)), "")
			return p.hex(b)
		},
	},
	{
		"orders", "id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, status VARCHAR(20) NOT NULL, total DECIMAL(12,2) NOT NULL, " +
			"placed_at DATETIME NOT NULL, shipped_at DATETIME NOT NULL, note TEXT NOT NULL", 930,
		func(p *prose, b []byte, i int) []byte {
			b = p.field(b, strconv.Itoa(i))
			b = p.field(b, strconv.Itoa(1+p.IntN(200_000)))
			b = p.field(b, []string{"new", "paid", "shipped", "returned"}[p.IntN(4)])
			b = p.field(p.money(b, 50_000), "")
			b = p.field(p.moment(b, i*60), "")
			b = p.field(p.moment(b, i*60+p.IntN(5*24*3600)), "")
			if p.IntN(5) == 0 {
				b = append(b, p.text(80)...)
			}
			return b
		},
	},
	{
		"order_items", "order_id INTEGER NOT NULL, line INTEGER NOT NULL, product_id INTEGER NOT NULL, quantity INTEGER NOT NULL, " +
			"price DECIMAL(10,2) NOT NULL, PRIMARY KEY (order_id, line)", 2800,
		func(p *prose, b []byte, i int) []byte {
			b = p.field(b, strconv.Itoa(1+i/3))
			b = p.field(b, strconv.Itoa(1+i%3))
			b = p.field(b, strconv.Itoa(p.IntN(20_000)))
			b = p.field(b, strconv.Itoa(1+p.IntN(5)))
			return p.money(b, 20_000)
		},
	},
	{
		"events", "id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, kind VARCHAR(50) NOT NULL, happened_at DATETIME NOT NULL, " +
			"address VARCHAR(40) NOT NULL, payload JSON NOT NULL", 930,
		func(p *prose, b []byte, i int) []byte {
			b = p.field(b, strconv.Itoa(i))
			b = p.field(b, strconv.Itoa(1+p.IntN(200_000)))
			b = p.field(b, p.word())
			b = p.field(p.moment(b, i*7), "")
			b = append(b, "10"...)
			for range 3 {
				b = strconv.AppendInt(append(b, '.'), int64(p.IntN(256)), 10)
			}
			b = append(p.field(b, ""), `{"session": "`...)
			b = append(p.hex(b), `", "page": "/`...)
			b = append(append(append(append(b, p.word()...), '/'), p.word()...), `", "ms": `...)
			b = append(strconv.AppendInt(b, int64(p.IntN(3000)), 10), `, "agent": "Mozilla/5.0 (X11; Linux x86_64) `...)
			b = append(append(b, p.word()...), `", "items": [`...)
			b = append(strconv.AppendInt(b, int64(p.IntN(20_000)), 10), ", "...)
			b = append(strconv.AppendInt(b, int64(p.IntN(20_000)), 10), `], "query": "`...)
			return append(append(b, p.text(50)...), `"}`...)
		},
	},
	{
		"reviews", "id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL, customer_id INTEGER NOT NULL, stars SMALLINT NOT NULL, " +
			"written_at DATETIME NOT NULL, body TEXT NOT NULL", 450,
		func(p *prose, b []byte, i int) []byte {
			b = p.field(b, strconv.Itoa(i))
			b = p.field(b, strconv.Itoa(p.IntN(20_000)))
			b = p.field(b, strconv.Itoa(1+p.IntN(200_000)))
			b = p.field(b, strconv.Itoa(1+p.IntN(5)))
			b = p.field(p.moment(b, i*120), "")
			return append(b, p.text(500+p.IntN(1000))...)
		},
	},
}

// indexes are made after the rows.
const indexes = `
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX events_time ON events (happened_at);
CREATE INDEX reviews_product ON reviews (product_id);
`

// writeRows writes the rows of a table into a new file that everyone may read: tabs between columns, nothing quoted or escaped.
func (t table) writeRows(path string, p *prose, mib int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := t.rows(w, p, t.perMiB*mib); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func (t table) rows(w io.Writer, p *prose, n int) error {
	var b []byte
	for i := range n {
		b = append(t.row(p, b[:0], i+1), '\n')
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// prose draws values and texts, the same at each run. Its texts are slices of a book that is far longer than a compressor looks
// back; some words are frequent in it, and some phrases come again and again.
type prose struct {
	*rand.Rand
	words []string
	book  []byte
}

func newProse() *prose {
	p := &prose{Rand: rand.New(rand.NewPCG(42, 7))}
	starts := []string{"b", "br", "c", "cl", "d", "dr", "f", "fl", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "qu", "r", "s", "st", "t", "tr", "v", "w", "be", "con", "de", "in", "re", "un"}
	middles := []string{"a", "e", "i", "o", "u", "ai", "ea", "ou"}
	ends := []string{"n", "r", "st", "ll", "ck", "ring", "ness", "tion", "t", "ly", "d", "m", "nder", "sh", "x", "ble"}
	for _, s := range starts {
		for _, m := range middles {
			for _, e := range ends {
				p.words = append(p.words, s+m+e)
			}
		}
	}
	p.Shuffle(len(p.words), func(i, j int) { p.words[i], p.words[j] = p.words[j], p.words[i] })
	phrases := make([]string, 200)
	for i := range phrases {
		for range 5 {
			phrases[i] += p.word() + " "
		}
	}
	const size = 64 << 20
	for len(p.book) < size {
		if p.Float64() < 0.3 {
			p.book = append(p.book, phrases[p.IntN(len(phrases))]...)
			continue
		}
		p.book = append(append(p.book, p.word()...), ' ')
	}
	return p
}

// word is one of the vocabulary; the first ones are more frequent.
func (p *prose) word() string {
	return p.words[int(p.Float64()*p.Float64()*float64(len(p.words)))]
}

// text is n bytes of the book, from where a word begins.
func (p *prose) text(n int) []byte {
	at := p.IntN(len(p.book) - n - 100)
	at += bytes.IndexByte(p.book[at:], ' ') + 1
	return bytes.TrimRight(p.book[at:at+n], " ")
}

func (p *prose) field(b []byte, value string) []byte { return append(append(b, value...), '\t') }

func (p *prose) money(b []byte, below int) []byte {
	cents := p.IntN(below)
	b = append(strconv.AppendInt(b, int64(cents/100), 10), '.')
	return append(b, byte('0'+cents/10%10), byte('0'+cents%10))
}

var firstDay = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func (p *prose) moment(b []byte, seconds int) []byte {
	return firstDay.Add(time.Duration(seconds)*time.Second).AppendFormat(b, time.DateTime)
}

func (p *prose) hex(b []byte) []byte {
	const digits = "0123456789abcdef"
	for range 2 {
		for v := p.Uint64() | 1<<63; v > 0; v >>= 4 {
			b = append(b, digits[v&15])
		}
	}
	return b
}
