package password

// The traditional crypt(3): DES, encrypting zeros 25 times with the password
// as key, with the 12 bits of the salt swapping outputs of the expansion E.
// crypto/des has no salt, and nothing new is stored this way, so this is the
// plain algorithm of FIPS 46-3 over one byte per bit: about a fifth of a millisecond.

var (
	desFinal = [64]byte{
		40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31,
		38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21, 61, 29,
		36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27,
		34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9, 49, 17, 57, 25,
	}
	desExpand = [48]byte{
		32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17,
		16, 17, 18, 19, 20, 21, 20, 21, 22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1,
	}
	desP = [32]byte{
		16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
		2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
	}
	desPC1 = [56]byte{
		57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
		63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
	}
	desPC2 = [48]byte{
		14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
		41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
	}
	desShifts = [16]int{1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1}
	desS      = [8][64]byte{
		{14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
			4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13},
		{15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
			0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9},
		{10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
			13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12},
		{7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
			10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14},
		{2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
			4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3},
		{12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
			9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13},
		{4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
			1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12},
		{13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
			7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11},
	}
)

func verifyDES(plain string, data []byte) error {
	return equal(cryptDES(plain, data[:2]), data[:13])
}

func generateDES(plain string, _ Options) ([]byte, error) {
	return cryptDES(plain, newSalt(2)), nil
}

// cryptDES returns the 13 characters for a password and a salt of two.
func cryptDES(plain string, salt []byte) []byte {
	var key [64]byte
	for i := range min(len(plain), 8) {
		for j := range 7 {
			key[8*i+j] = plain[i] >> (6 - j) & 1
		}
	}
	subkeys := desSubkeys(&key)
	expand := desExpand
	for i, c := range salt[:2] {
		v := saltValue(c)
		for j := range 6 {
			if v>>j&1 != 0 {
				k := 6*i + j
				expand[k], expand[k+24] = expand[k+24], expand[k]
			}
		}
	}
	var block [64]byte // zeros, which the initial permutation leaves so
	for range 25 {
		desRounds(&block, &subkeys, &expand)
	}
	out := append(make([]byte, 0, 13), salt[:2]...)
	for i := 0; i < 66; i += 6 {
		v := 0
		for j := i; j < i+6; j++ {
			v <<= 1
			if j < 64 {
				v |= int(block[desFinal[j]-1])
			}
		}
		out = append(out, saltAlphabet[v])
	}
	return out
}

func saltValue(c byte) int {
	for i := range len(saltAlphabet) {
		if saltAlphabet[i] == c {
			return i
		}
	}
	return 0
}

func desSubkeys(key *[64]byte) (subkeys [16][48]byte) {
	var cd [56]byte
	for i, p := range desPC1 {
		cd[i] = key[p-1]
	}
	shift := 0
	for round := range subkeys {
		shift += desShifts[round]
		for i, p := range desPC2 {
			half, pos := (int(p)-1)/28*28, (int(p)-1)%28
			subkeys[round][i] = cd[half+(pos+shift)%28]
		}
	}
	return subkeys
}

// desRounds is one encryption without initial and final permutation; those
// of repeated encryptions undo each other.
func desRounds(block *[64]byte, subkeys *[16][48]byte, expand *[48]byte) {
	var l, r [32]byte
	copy(l[:], block[:32])
	copy(r[:], block[32:])
	for round := range subkeys {
		var f [32]byte
		for s := range desS {
			var b [6]byte
			for j := range b {
				b[j] = r[expand[6*s+j]-1] ^ subkeys[round][6*s+j]
			}
			v := desS[s][int(b[0])<<5|int(b[5])<<4|int(b[1])<<3|int(b[2])<<2|int(b[3])<<1|int(b[4])]
			for j := range 4 {
				f[4*s+j] = v >> (3 - j) & 1
			}
		}
		next := l
		for i, p := range desP {
			next[i] ^= f[p-1]
		}
		l, r = r, next
	}
	copy(block[:32], r[:])
	copy(block[32:], l[:])
}
