package inventory_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
)

var update = flag.Bool("update", false, "write the messages of bad fixtures anew")

// known are two of the built-in profiles, and one of each other protocol. More
// built-in ones would stand in the messages.
func known(t testing.TB) map[string]*profile.Profile {
	t.Helper()
	builtin, err := profile.Builtin()
	require.NoError(t, err)
	return map[string]*profile.Profile{
		"feeder-rtu": builtin["feeder-rtu"], "switched-outlet": builtin["switched-outlet"],
		"test-plc":     {Name: "test-plc", Protocol: profile.OPCUA, Class: "plc"},
		"test-gateway": {Name: "test-gateway", Protocol: profile.SSH, Class: "gateway"},
	}
}

func TestBadFleetFileIsRefusedWithItsMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			inv, problems := inventory.Parse(inventory.Source{Name: name, Data: data}, nil, known(t))
			require.Nil(t, inv)
			require.Error(t, problems.Err())
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := problems.Err().Error() + "\n"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestGoodFleetFile(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(t, err)
	inv, problems := inventory.Parse(inventory.Source{Name: "good.yaml", Data: data}, nil, known(t))
	require.NoError(t, problems.Err())
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, inv.Security.AllowedNetworks)
	d, ok := inv.Device("edge-1")
	require.True(t, ok)
	require.Equal(t, inventory.Device{ID: "edge-1", Site: "s1", Region: "east", Class: "rtu", Profile: "feeder-rtu", Address: "10.0.0.7:502",
		Unit: 255, Framing: devices.FramingTCP, NetworkReset: &inventory.NetworkReset{Device: "switch-1", Action: "cycle-port-1"}, PlaintextException: "own VLAN",
		File: "good.yaml", Line: 8}, d)
	_, ok = inv.Device("edge-2")
	require.False(t, ok)
}

func TestFleetWithoutEncryptionNeedsNoException(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(t, err)
	text := strings.NewReplacer("enable_encryption: true", "enable_encryption: false", "    plaintext_exception: own VLAN\n", "").Replace(string(data))
	_, problems := inventory.Parse(inventory.Source{Name: "good.yaml", Data: []byte(text)}, nil, known(t))
	require.NoError(t, problems.Err())
}

func parse(t *testing.T, file string, change ...string) (*inventory.Inventory, error) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	inv, problems := inventory.Parse(inventory.Source{Name: "fleet.yaml", Data: []byte(strings.NewReplacer(change...).Replace(string(data)))}, nil, known(t))
	return inv, problems.Err()
}

func TestEachProtocolIsDeclaredInItsOwnSection(t *testing.T) {
	inv, err := parse(t, "testdata/protocols.yaml")
	require.NoError(t, err)
	plc, _ := inv.Device("plc-7")
	require.Equal(t, &inventory.OPCUA{Policy: "Aes256_Sha256_RsaPss", Mode: "SignAndEncrypt", Thumbprint: "0123456789abcdef0123456789abcdef01234567", ApplicationURI: "urn:plant-7:plc"}, plc.OPCUA)
	require.Equal(t, "plant-ops", plc.Credentials)
	require.Zero(t, plc.Unit)
	require.Equal(t, []string{"0123456789abcdef0123456789abcdef01234567"}, plc.Fingerprints())
	gw, _ := inv.Device("gw-1")
	require.Equal(t, &inventory.SSH{HostKeys: []string{"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}, gw.SSH)
	require.Equal(t, "gateways", gw.Credentials)
	require.Empty(t, gw.Framing)
	for _, id := range []string{"rtu-9", "rtu-10"} {
		rtu, _ := inv.Device(id)
		require.Equal(t, devices.FramingRTU, rtu.Framing)
		require.True(t, rtu.SerialGateway, "an RTU frame has a serial line behind it")
	}
}

func TestOPCUADefaultsToTheStrongestThatEveryServerHas(t *testing.T) {
	inv, err := parse(t, "testdata/protocols.yaml", "policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt, ", "")
	require.NoError(t, err)
	plc, _ := inv.Device("plc-7")
	require.Equal(t, "Basic256Sha256/SignAndEncrypt", plc.OPCUA.Policy+"/"+plc.OPCUA.Mode)
}

func TestTrustOnFirstUseNeedsNoFingerprint(t *testing.T) {
	inv, err := parse(t, "testdata/protocols.yaml", "enable_encryption: true", "trust_first_use: true", "ssh: {", "#", "    opcua: {", "#")
	require.NoError(t, err)
	require.True(t, inv.Security.TrustFirstUse)
	gw, _ := inv.Device("gw-1")
	require.NotNil(t, gw.SSH)
	require.Empty(t, gw.Fingerprints())
}

func TestAServerWithoutSecurityNeedsAReasonAndNothingElse(t *testing.T) {
	inv, err := parse(t, "testdata/protocols.yaml", "    credentials: plant-ops\n", "    plaintext_exception: old model on its own VLAN\n", "    opcua: {", "    opcua: {policy: None}\n#")
	require.NoError(t, err)
	plc, _ := inv.Device("plc-7")
	require.Equal(t, &inventory.OPCUA{Policy: "None", Mode: "None"}, plc.OPCUA)
}

func TestAThumbprintIsTheSameInEveryNotation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		digits := rapid.StringMatching(`[0-9a-f]{40}|[0-9a-f]{64}`).Draw(rt, "digits")
		var written strings.Builder
		for i, c := range digits {
			if rapid.Bool().Draw(rt, "upper") {
				c = unicode.ToUpper(c)
			}
			if i%2 == 0 && i > 0 {
				written.WriteString(rapid.SampledFrom([]string{"", ":", " ", "-"}).Draw(rt, "between"))
			}
			written.WriteRune(c)
		}
		inv, err := parse(t, "testdata/protocols.yaml", "01:23:45:67:89:AB:CD:EF:01:23:45:67:89:ab:cd:ef 01 23 45 67", written.String())
		require.NoError(rt, err)
		plc, _ := inv.Device("plc-7")
		require.Equal(rt, digits, plc.OPCUA.Thumbprint)
	})
}

func TestAnAddressIsTheSameInEveryNotation(t *testing.T) {
	for name, c := range map[string][2]string{
		"upper case":               {"GW-1.example:22", "gw-1.EXAMPLE:22"},
		"a dot at the end":         {"gw-1.example:22", "gw-1.example.:22"},
		"an IPv6 address":          {`"[fd00::1]:22"`, `"[fd00:0:0::1]:22"`},
		"an IPv4 address as IPv6":  {"10.0.0.9:22", `"[::ffff:10.0.0.9]:22"`},
		"a port with zeros before": {"gw-1.example:22", "gw-1.example:0022"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, "testdata/protocols.yaml", `["10.0.0.0/8"]`, `["10.0.0.0/8", "fd00::/8"]`, "10.0.0.5:22", c[0], "  - id: rtu-9\n",
				"  - {id: gw-2, site: s1, region: east, profile: test-gateway, address: "+c[1]+", credentials: gateways, ssh: {host_keys: [\"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]}}\n  - id: rtu-9\n")
			require.ErrorContains(t, err, "gw-1 and gw-2 are both at "+strings.Trim(c[1], `"`))
		})
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(f, err)
	for _, file := range append(files, "testdata/good.yaml", "testdata/protocols.yaml") {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data, []byte("devices: []"))
	}
	profiles := known(f)
	f.Fuzz(func(t *testing.T, data, more []byte) {
		inv, problems := inventory.Parse(inventory.Source{Name: "f.yaml", Data: data}, []inventory.Source{{Name: "g.yaml", Data: more}}, profiles)
		if (inv == nil) == (problems.Err() == nil) {
			t.Fatalf("either an inventory or problems: %v, %v", inv, problems)
		}
		if inv == nil {
			return
		}
		for _, d := range inv.Devices {
			if err := devices.ValidID(d.ID); err != nil {
				t.Fatal(err)
			}
			if got, ok := inv.Device(d.ID); !ok || got.Line != d.Line {
				t.Fatalf("%s is not found again", d.ID)
			}
			modbus := profiles[d.Profile].Protocol == profile.ModbusTCP
			if modbus != (d.Unit != 0) || modbus != (d.Framing != "") || (d.SSH != nil || d.OPCUA != nil) == modbus {
				t.Fatalf("accepted %+v", d)
			}
			if !modbus && (d.OPCUA == nil || d.OPCUA.Policy != "None") && (d.Credentials == "" || len(d.Fingerprints()) == 0 && !inv.Security.TrustFirstUse) {
				t.Fatalf("accepted %+v", d)
			}
			if profiles[d.Profile] == nil || inv.Regions[d.Region].Name != d.Region {
				t.Fatalf("accepted %+v", d)
			}
		}
	})
}
