// Package mta tests the mail transport as an administrator knows it: the procedures of
// the documentation and the standard configurations of Postfix's manual, step by step
// with postconf, files, postmap and reload, and what becomes of mail then.
//
// Each script in testdata is played on the real Postfix and on Dovetail. What it says
// must be true of both; besides, both must have logged the same lines and given the
// same letters to the same next hops. The configuration that scripts begin with is
// baseMain and baseMaster.
//
// Other tests of the package compare both on configurations chosen at random, with
// tables of which each kind fails, and through the programs that read mail logs. It
// needs root, and makes users of the machine.
package mta
