import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.Base64;
import java.util.Collections;

/** Writes each entry of a key store as ALIAS.pem (key and certificates), and its key again as ALIAS.key. */
class Pem {
    public static void main(String[] args) throws Exception {
        char[] password = args[1].toCharArray();
        KeyStore store = KeyStore.getInstance(new File(args[0]), password);
        for (String alias : Collections.list(store.aliases())) {
            String key = block("PRIVATE KEY", store.getKey(alias, password).getEncoded());
            StringBuilder chain = new StringBuilder();
            for (var certificate : store.getCertificateChain(alias)) {
                chain.append(block("CERTIFICATE", certificate.getEncoded()));
            }
            boolean authority = store.getCertificateChain(alias).length == 1;
            Files.writeString(Path.of(alias + ".pem"), authority ? chain : key + chain);
            Files.writeString(Path.of(alias + ".key"), key);
        }
    }

    private static String block(String kind, byte[] bytes) {
        String text = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(bytes);
        return "-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----\n";
    }
}
