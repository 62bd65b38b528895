package api

import (
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// Prefixes of secrets, so that a leaked one is recognised by those who scan for them.
const (
	tokenPrefix     = "dfk_"
	enrolmentPrefix = "dfe_"
)

// NewToken draws an API token of 256 random bits and the hash that the catalog keeps.
func NewToken() (token string, hash []byte) {
	token = tokenPrefix + randomText()
	return token, HashToken(token)
}

// HashToken is what the catalog keeps of a token. A plain hash is enough: the token is random, so nobody can search for it.
func HashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// newEnrolmentToken carries the fingerprint of the CA, so that the agent knows the controller from its first request on.
func newEnrolmentToken(caFingerprint string) (token string, hash []byte) {
	token = enrolmentPrefix + randomText() + "_" + caFingerprint
	return token, HashToken(token)
}

// randomText is 256 random bits without the characters - and _, so that a double click marks a token whole.
func randomText() string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var out strings.Builder
	b := make([]byte, 64)
	for out.Len() < 43 { // 62^43 > 2^256
		rand.Read(b) // never fails: it ends the program instead
		for _, c := range b {
			if c < 248 && out.Len() < 43 { // 248 = 4 × 62: every digit is as likely as the others
				out.WriteByte(digits[c%62])
			}
		}
	}
	return out.String()
}

// authenticate finds who asks: by a token, or by the cookie of a session. Refused ones are counted per address.
func (a *API) authenticate(c *gin.Context) (controller.Actor, error) {
	remote := c.RemoteIP()
	if wait, ok := a.failures.allowed(remote); !ok {
		return controller.Actor{}, tooMany(c, wait)
	}
	actor, err := a.identity(c)
	if err != nil {
		// A session that has ended is no guess.
		if controller.ErrorCode(err) == controller.EUnauthorized && hasToken(c) {
			a.failures.count(remote)
		}
		return controller.Actor{}, err
	}
	actor.Remote = remote
	return actor, nil
}

func (a *API) identity(c *gin.Context) (controller.Actor, error) {
	if c.GetHeader("Authorization") == "" {
		if secret, ok := sessionSecret(c); ok {
			return a.session(c, secret)
		}
	}
	token, ok := bearer(c)
	if !ok {
		// Without a token there is nothing to guess, and nothing to look up.
		return controller.Actor{}, controller.Errorf(controller.EUnauthorized, "the request has no API token and no session").
			WithHint("send `Authorization: Bearer dfk_…`, or sign in")
	}
	actor, err := a.opt.Store.TokenByHash(c.Request.Context(), HashToken(token))
	if err != nil {
		return controller.Actor{}, err
	}
	acting, err := actingFor(c.Request.Header)
	if err != nil {
		return controller.Actor{}, err
	}
	return a.act(c.Request.Context(), actor, acting)
}

func bearer(c *gin.Context) (token string, ok bool) {
	scheme, token, _ := strings.Cut(c.GetHeader("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && strings.HasPrefix(token, tokenPrefix)
}

func hasToken(c *gin.Context) bool {
	_, ok := bearer(c)
	return ok
}

func tooMany(c *gin.Context, wait time.Duration) *controller.Error {
	seconds := int(wait.Seconds()) + 1
	c.Header("Retry-After", strconv.Itoa(seconds))
	return controller.Errorf(body.CodeTooMany, "too many refused tokens or sign-ins from this address").WithHint("try again in %d s", seconds)
}

const (
	failureBurst  = 20              // refused tokens that an address may send at once
	failureRefill = 3 * time.Second // one more each
	failureKept   = 10_000          // addresses remembered
)

// failures counts refused tokens per address. It bounds the load on the catalog; guessing 256 bits is hopeless anyhow.
type failures struct {
	now func() time.Time

	mu sync.Mutex
	by map[string]time.Time // when the address is back at zero
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, by: map[string]time.Time{}}
}

// allowed tells whether the address may try, and if not, how long it has to wait.
func (f *failures) allowed(remote string) (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	debt := max(f.by[remote].Sub(f.now()), 0)
	over := debt - (failureBurst-1)*failureRefill
	return over, over <= 0
}

func (f *failures) count(remote string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if len(f.by) >= failureKept {
		for k, zero := range f.by {
			if zero.Before(now) || len(f.by) >= failureKept {
				delete(f.by, k)
			}
		}
	}
	from := f.by[remote]
	if from.Before(now) {
		from = now
	}
	f.by[remote] = from.Add(failureRefill)
}
