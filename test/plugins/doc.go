// Package plugins plays sessions of users with Dovecot's plugins.
//
// Each file testdata/NAME.txtar is one user's: a comment, "user" (fields of the userdb), "play"
// (what is done) and "want" (what is answered, logged and left on disk), which is what Dovecot
// 2.3.19.1 did: "go test -run TestPlugins -update" asks it again. The lines of "play" are
// described where they are played, in player_test.go.
package plugins
